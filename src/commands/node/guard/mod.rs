//! `node guard`: may the local server start as it is? Asked before it runs, with no server to ask but those of other nodes.

mod demote;
mod lease;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::assess::start::{
    Count, Opinion, PeerAnswer, Stance, StartReason, StartVerdict, interpret_answer, judge as by_opinions,
    strongest_opinions,
};
use crate::cli::node::Guard as Args;
use crate::config::Config;
use crate::config::value::GuardOnUnknown;
use crate::context::Context;
use crate::error::{Error, Exit, Result, Text, sentence};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::directory::{DirectoryContents, look_past_mark};
use crate::facts::rejoin::{LocalFiles, STANDBY_SIGNAL, is_half_rewound};
use crate::journal;
use crate::observe::discovery;
use crate::observe::own_node::own_row;
use crate::observe::peers::poll::{OwnAddresses, PeerPoll};
use crate::observe::peers::{self, known_servers};
use crate::operation::start_permission::COPIED;
use crate::output::{Data, Report};
use crate::pg::conninfo::Conninfo;
use crate::registry::{NodeRow, NodeType};
use crate::system::clock;
use crate::system::lock::LocalLock;
use crate::system::signals::Signals;
use crate::ui::Level;
use crate::verb::Verb;

/// The longest time that one attempt to ask a node may take.
const EACH: Duration = Duration::from_millis(2500);

/// The shortest, at the end of the time.
const AT_LEAST: Duration = Duration::from_secs(1);

/// How long nodes that are not heard are waited for before a majority is enough.
const SETTLED: Duration = Duration::from_secs(10);

/// The pause between two rounds: the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// How to start a server whatever this command says.
const BY_HAND: &str = "If you are certain that no other node is, or was, the primary meanwhile, run \"pgbaton node start --force\"";

/// The reason of a node that has `standby.signal`.
const STANDBY: &str = "standby";

/// Says whether the local server may start.
///
/// # Errors
/// Exit code 31 if there is a newer primary. 3 in every other case but a yes, be it a mistake in the configuration or a signal.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    // From the beginning, so that no signal ends the program in a way of its own.
    let signals = Signals::take_over()
        .map_err(|error| Error::from_cause(Exit::CannotTell, "could not take over signals", &error))?;
    let begun = Instant::now();
    let found = tokio::select! {
        found = find_out(context, args, begun) => found?,
        signal = signals.next() => {
            return Err(Error::new(Exit::CannotTell, format!("interrupted by {}", match signal {
                crate::system::signals::Signal::Int => "SIGINT",
                crate::system::signals::Signal::Term => "SIGTERM",
            }))
            .detail("Whether the server may start is not known. Nothing was changed."));
        }
    };
    match found {
        GuardFindings::Answer(report) => {
            if matches!(&report.data, Data::Done(data) if data["reason"] == STANDBY) {
                demote::ensure_stays_standby(context, args).await?;
                if args.demote {
                    demote::report_interrupted(context)?;
                }
            }
            Ok(report)
        }
        GuardFindings::Judged(judged) => judged.conclude(context, args).await,
    }
}

/// What was found out.
enum GuardFindings {
    /// The answer, without asking any node.
    Answer(Report),
    /// What the others say.
    Judged(Box<GuardJudgement>),
}

/// The node, what the others say of it, and what follows.
struct GuardJudgement {
    own: NodeRow,
    system_identifier: String,
    local: LocalFiles,
    verdict: StartVerdict,
    /// Of the last round.
    peers: Vec<PeerAnswer>,
    opinions: Vec<Opinion>,
    /// All rows that are known.
    rows: Vec<NodeRow>,
    count: Count,
    /// What was seen at other times, and is newer.
    seen_newer: Option<String>,
    /// What is wrong with the file of the saved topology.
    doubt: Option<String>,
    waited: Duration,
}

fn answer(decision: &str, reason: &str, more: Value) -> Report {
    let mut data = json!({ "decision": decision, "reason": reason, "asked": [], "waited_s": 0.0 });
    if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
    Report::new(Data::Done(data))
}

async fn find_out(context: &Context, args: &Args, begun: Instant) -> Result<GuardFindings> {
    let config = context.config()?;
    let name = &config.node_name;
    let named = named(context, args)?;
    if let Some(report) = without_asking(context, config)? {
        return Ok(GuardFindings::Answer(report));
    }
    if let Some(report) = lease::decides(context, config).await? {
        return Ok(GuardFindings::Answer(report));
    }
    let local = peers::read_local_files(context).await.map_err(|error| refused("unreadable", error.text))?;
    let system_identifier = local.control.system_identifier.to_string();
    let own = own_row(config, NodeType::Primary, None, None);
    let mut inquiry = PeerPoll::new(context, &own, &system_identifier);
    inquiry.named = named;
    inquiry.own_addresses = OwnAddresses::All;
    let mut end = None;
    let mut looked = false;
    let seen = peers::last_seen(context, &local, &mut inquiry)?;
    if seen.is_witness {
        let text = format!("node \"{name}\" may start: it is a witness");
        context.ui.say(Level::Notice, &text);
        return Ok(GuardFindings::Answer(answer("start", "witness", json!({}))));
    }
    let alone = seen.doubt.is_none() && !inquiry.members.has_others(own.node_id);
    if !inquiry.members.has_others(own.node_id) {
        inquiry.guessed = known_servers::guesses(context).await;
    }
    let wait = wait(context, args, config);
    let until = begun + wait;
    let mut pause = PAUSE.0;
    let mut reported = false;
    let (verdict, peers, opinions) = loop {
        let last = inquiry.is_empty() || Instant::now() >= until;
        let each = EACH.min(until.saturating_duration_since(Instant::now()).max(AT_LEAST));
        let enough = |peers: &[PeerAnswer]| {
            let ours = peers::local_node(&own, &system_identifier, local.branch(), end);
            let mut opinions = peers.iter().map(|peer| interpret_answer(&ours, peer, peers));
            // An address of this node may lead to another node, which says itself what it is.
            let objects = |opinion: &Opinion| opinion.says == Stance::Opposes && !opinion.own_address;
            opinions.any(|opinion| objects(&opinion) && (opinion.is_primary || !args.demote))
        };
        let peers = inquiry.round(each, enough).await;
        if !looked && peers::beyond_checkpoint(&local, &peers) {
            looked = true;
            end = peers::measured(context, &local).await;
        }
        let ours = peers::local_node(&own, &system_identifier, local.branch(), end);
        let opinions: Vec<Opinion> = peers.iter().map(|peer| interpret_answer(&ours, peer, &peers)).collect();
        let verdict = match seen.newer_than_heard(&opinions) {
            Some(_) => StartVerdict::Refuse,
            None => by_opinions(own.node_id, &opinions, &inquiry.members, alone, last),
        };
        // After a power failure the hosts do not come back in the same second, and the one that is missing may be the newer primary.
        let verdict = match verdict {
            StartVerdict::Start(StartReason::Majority) if !last && begun.elapsed() < SETTLED => {
                StartVerdict::Wait
            }
            verdict => verdict,
        };
        if verdict != StartVerdict::Wait {
            break (verdict, peers, opinions);
        }
        if !reported {
            reported = true;
            context.ui.message(
                Level::Notice,
                &format!(
                    "it is not known yet whether node \"{name}\" may start; querying the other nodes for up to {} s",
                    wait.as_secs()
                ),
                Some(&sentences(&strongest_opinions(opinions))),
                None,
            );
        }
        tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 2).min(PAUSE.1);
    };
    let opinions = strongest_opinions(opinions);
    let seen_newer = seen.newer_than_heard(&opinions).map(str::to_string);
    let count = inquiry.members.count(own.node_id, &opinions);
    let rows = std::mem::take(&mut inquiry.rows);
    Ok(GuardFindings::Judged(Box::new(GuardJudgement {
        verdict,
        peers,
        opinions,
        rows,
        count,
        seen_newer,
        doubt: seen.doubt,
        waited: begun.elapsed(),
        own,
        system_identifier,
        local,
    })))
}

/// Returns the servers that the command line names.
fn named(context: &Context, args: &Args) -> Result<Vec<NodeRow>> {
    let mut out: Vec<Conninfo> = Vec::new();
    for text in &args.nodes {
        out.push(Conninfo::from_dbname(text).map_err(|error| {
            Error::failed("invalid connection string in --node").detail(sentence(&error.to_string()))
        })?);
    }
    out.iter().for_each(|conninfo| context.own(conninfo));
    out.extend(context.named_server()?);
    out.iter().map(|conninfo| known_servers::unregistered(context, conninfo)).collect()
}

/// Returns the answer where no node has to be asked for it.
///
/// # Errors
/// Exit code 3 where there is something that must not be started, or cannot be looked at.
fn without_asking(context: &Context, config: &Config) -> Result<Option<Report>> {
    let (data, name) = (&config.data_directory, &config.node_name);
    let shown = data.display();
    let nothing = |text: &str| {
        context
            .ui
            .say(Level::Notice, &format!("data directory \"{shown}\" {text}: there is nothing to start"));
        Ok(Some(answer("start", "nothing_to_start", json!({}))))
    };
    match look_past_mark(data) {
        DirectoryContents::Missing => return nothing("does not exist"),
        DirectoryContents::Empty => return nothing("is empty"),
        DirectoryContents::UnfinishedClone(_) => {
            return Err(refused(
                "unfinished_clone",
                format!("a clone into \"{shown}\" was begun but not finished"),
            )
            .hint("Run \"pgbaton standby clone\" again: it takes the directory over."));
        }
        DirectoryContents::Other(_) => {
            return Err(refused("no_data_directory", format!("\"{shown}\" is not a data directory"))
                .hint("Set data_directory in the configuration."));
        }
        DirectoryContents::Unreadable(why) => {
            return Err(refused("unreadable", format!("could not examine data directory \"{shown}\""))
                .detail(sentence(&why)));
        }
        DirectoryContents::DataDirectory { running: Some(pid), .. } => {
            let text = format!("the server of node \"{name}\" is running already (process {pid})");
            context.ui.say(Level::Notice, &text);
            return Ok(Some(answer("start", "already_running", json!({}))));
        }
        DirectoryContents::DataDirectory { running: None, .. } => {}
    }
    if is_half_rewound(data) {
        return Err(refused(
            "unfinished_rewind",
            format!("a rewind of \"{shown}\" was begun but not finished"),
        )
        .detail("Its files are in an inconsistent state.")
        .hint("Run \"pgbaton node rejoin\" again: it continues the rewind."));
    }
    let is_standby = data.join(STANDBY_SIGNAL).exists();
    let unfinished = match unfinished(context) {
        // A standby starts, whatever is wrong with the state directory.
        Err(error) if is_standby => {
            context.ui.text(Level::Warning, &Text { hint: None, ..error.text });
            None
        }
        unfinished => unfinished?,
    };
    if let Some(what) = &unfinished {
        context.ui.message(
            Level::Warning,
            &format!("{what} is unfinished on this node"),
            None,
            Some("Run \"pgbaton operation list\"; then resume or abandon it."),
        );
    }
    if is_standby {
        context.ui.say(Level::Notice, &format!("node \"{name}\" may start: it has {STANDBY_SIGNAL}"));
        return Ok(Some(answer("start", STANDBY, json!({ "unfinished_operation": unfinished }))));
    }
    if let Some(command) = restart_command(context, unfinished.is_some())? {
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" may start: it is started by \"pgbaton {command}\", which is running"),
        );
        return Ok(Some(answer("start", "operation", json!({}))));
    }
    Ok(None)
}

fn refused(reason: &str, text: impl Into<Text>) -> Error {
    let mut error = Error::new(Exit::CannotTell, text);
    error.data = json!({ "decision": "unknown", "reason": reason, "asked": [], "waited_s": 0.0 });
    error
}

/// Names the operation that was left unfinished here.
fn unfinished(context: &Context) -> Result<Option<String>> {
    let Some(directory) = context.own_state_directory()? else { return Ok(None) };
    let left = journal::unfinished(&directory)
        .map_err(|error| Error::from_cause(Exit::CannotTell, "could not read the journals", &error))?;
    Ok(journal::blocking(&left).map(|entry| match &entry.journal {
        Ok(loaded) => format!("operation \"{}\"", loaded.header.command),
        Err(_) => format!("operation {}", entry.operation_id),
    }))
}

/// Returns the command that starts this server as the primary that it was, because it has not made another one.
///
/// A switchover holds this node's lock from before it stops the old primary. Until it has given up it has `standby.signal` in place, and
/// after that it promotes no node.
fn restart_command(context: &Context, unfinished_here: bool) -> Result<Option<String>> {
    let Some(directory) = context.own_state_directory()? else { return Ok(None) };
    let holder = LocalLock::holder(&directory)
        .map_err(|error| Error::from_cause(Exit::CannotTell, "could not check the lock", &error))?;
    let is_switchover = |command: &str| match Verb::parse(command) {
        Some(Verb::StandbySwitchover) => true,
        // Of an operation whose journal is on the host of the candidate.
        Some(Verb::OperationResume | Verb::OperationAbandon) => !unfinished_here,
        _ => false,
    };
    Ok(holder.map(|holder| holder.command).filter(|command| is_switchover(command)))
}

fn wait(context: &Context, args: &Args, config: &Config) -> Duration {
    let given = args.wait.map(|seconds| Duration::from_secs(u64::from(seconds)));
    let wait = given.unwrap_or(config.guard_wait);
    match context.options.timeout {
        Some(seconds) => wait.min(Duration::from_secs(u64::from(seconds))),
        None => wait,
    }
}

fn sentences(opinions: &[Opinion]) -> String {
    opinions.iter().map(|opinion| opinion.detail.as_str()).collect::<Vec<_>>().join(" ")
}

impl GuardJudgement {
    /// Returns the data for scripts.
    fn data(&self, decision: &str, reason: &str) -> Value {
        json!({
            "decision": decision,
            "reason": reason,
            "asked": self.opinions,
            "named_by": self.count.named,
            "of": self.count.of,
            "timeline": self.local.timeline,
            "waited_s": self.waited.as_secs_f64(),
        })
    }

    fn may_start(&self, decision: &str, reason: &str) -> Report {
        Report::new(Data::Done(self.data(decision, reason)))
    }

    /// Reports the answer, and acts on it.
    async fn conclude(self, context: &Context, args: &Args) -> Result<Report> {
        let name = &self.own.node_name;
        match self.verdict {
            StartVerdict::Start(StartReason::Alone) => {
                let text = format!("node \"{name}\" may start: no other node is registered");
                context.ui.say(Level::Notice, &text);
                Ok(self.may_start("start", "single_node"))
            }
            StartVerdict::Start(why) => {
                let (level, reason) = match why {
                    StartReason::Majority if self.opinions.iter().any(|opinion| opinion.defers) => {
                        (Level::Warning, "majority")
                    }
                    StartReason::Majority => (Level::Notice, "majority"),
                    _ => (Level::Notice, "all"),
                };
                // Who is there may come up at any time, and this node's own name is all that the others have.
                let level = if self.opinions.iter().any(|opinion| opinion.own_address) {
                    Level::Warning
                } else {
                    level
                };
                let Count { named, of } = self.count;
                let text = format!(
                    "node \"{name}\" may start: {named} of {of} nodes, including itself, confirm it as the primary"
                );
                let moved = self.opinions.iter().any(|opinion| opinion.own_address).then_some(
                    "If this node was moved, record its new address when it runs: run \"pgbaton primary register --force\" on it.",
                );
                context.ui.message(level, &text, Some(&sentences(&self.opinions)), moved);
                Ok(self.may_start("start", reason))
            }
            StartVerdict::Refuse => {
                self.remember(context);
                if !args.demote {
                    return Err(self.refusal());
                }
                self.is_meant()?;
                demote::to_standby(context, &self).await
            }
            StartVerdict::Wait | StartVerdict::Unknown => self.unknown(context).await,
        }
    }

    /// Returns everything that was said of something newer.
    fn evidence(&self) -> String {
        let against: Vec<Opinion> =
            self.opinions.iter().filter(|opinion| opinion.says == Stance::Opposes).cloned().collect();
        match (&self.seen_newer, against.is_empty()) {
            (Some(seen), true) => seen.clone(),
            _ => sentences(&against),
        }
    }

    fn refusal(&self) -> Error {
        let name = &self.own.node_name;
        let mut error = Error::new(
            Exit::SecondPrimary,
            format!("node \"{name}\" must not start as a primary: it would be a second primary, or an outdated one"),
        )
        .detail(self.evidence());
        error = match self.outdated() {
            _ if self.is_copied() => error.hint(COPIED),
            Some(old) => error.hint(format!(
                "Node \"{old}\" is on an older timeline than this node. Stop it first if this node is the right primary."
            )),
            None => error.hint(
                "Run \"pgbaton node rejoin\": it re-attaches the node as a standby. If it has not diverged, \"pgbaton node guard --demote\" and then \
                 \"pgbaton node start\" do the same.",
            ),
        };
        error.data = self.data("refuse", "newer_primary");
        error
    }

    /// Refuses to write into the data directory where another server of this cluster answers as this node: the configuration may name the
    /// directory of another node, or one of the two is a copy.
    ///
    /// # Errors
    /// Exit code 31, or 3 where nothing newer was seen.
    fn is_meant(&self) -> Result<()> {
        let own_cluster = |opinion: &&Opinion| {
            let identifier = opinion.server.as_ref().map(|(identifier, _)| identifier);
            opinion.own_address && opinion.timeline.is_some() && identifier == Some(&self.system_identifier)
        };
        let Some(opinion) = self.opinions.iter().find(own_cluster) else { return Ok(()) };
        let name = &self.own.node_name;
        let (exit, decision, reason) = match self.verdict {
            StartVerdict::Refuse => (Exit::SecondPrimary, "refuse", "newer_primary"),
            _ => (Exit::CannotTell, "unknown", "too_few_answers"),
        };
        let mut error =
            Error::new(exit, format!("node \"{name}\" was not made a standby: another server responds as this node"))
                .detail(format!(
                    "{} No server runs on the local data directory. Nothing was changed.",
                    opinion.detail
                ))
                .hint(format!(
                    "If conninfo and data_directory in the configuration do not belong to the same server, correct them. If one is a \
                     copy of the other: {COPIED}"
                ));
        error.data = self.data(decision, reason);
        Err(error)
    }

    /// Another server has an address of this node, and accepts writes.
    fn is_copied(&self) -> bool {
        self.opinions.iter().any(|opinion| opinion.own_address && opinion.says == Stance::Opposes)
    }

    /// Returns the node that accepts writes on an older timeline than that of this node, if there is no other.
    fn outdated(&self) -> Option<&str> {
        let mut against = self.opinions.iter().filter(|opinion| opinion.says == Stance::Opposes).peekable();
        against.peek()?;
        let ours = self.local.timeline;
        let is_old = |opinion: &&Opinion| opinion.timeline.is_some_and(|timeline| timeline < ours);
        let all: Vec<&Opinion> = against.collect();
        all.iter().all(is_old).then(|| all.first().map(|opinion| opinion.node_name.as_str()))?
    }

    /// The time is over: the configuration says what then.
    async fn unknown(self, context: &Context) -> Result<Report> {
        let config = context.config()?;
        let name = &self.own.node_name;
        let mut detail = sentences(&self.opinions);
        if let Some(doubt) = &self.doubt {
            let file = "The saved topology is not used.";
            detail = [file, doubt, &detail].join(" ").trim_end().to_string();
        }
        if !self.opinions.is_empty() {
            let Count { named, of } = self.count;
            let count = format!(
                "{named} of {of} nodes, including itself, confirm it as the primary; a majority is required."
            );
            detail = format!("{detail} {count}");
        }
        let reason = match (self.opinions.is_empty(), &self.doubt) {
            (true, Some(_)) => "no_topology",
            _ => "too_few_answers",
        };
        match config.guard_on_unknown {
            GuardOnUnknown::Refuse => {
                let mut error = Error::new(
                    Exit::CannotTell,
                    format!("it cannot be determined whether node \"{name}\" may start"),
                )
                .detail(detail)
                .hint(if self.opinions.is_empty() {
                    format!("Name a node to ask with --node. {BY_HAND}.")
                } else {
                    format!("Start the other nodes first, or find out why they do not respond. {BY_HAND}.")
                });
                error.data = self.data("unknown", reason);
                Err(error)
            }
            GuardOnUnknown::Start => {
                context.ui.message(
                    Level::Warning,
                    &format!("node \"{name}\" starts although it cannot be determined whether there is a newer primary"),
                    Some(&format!("{detail} guard_on_unknown is \"start\".")),
                    Some("Run \"pgbaton cluster show\" as soon as other nodes respond: there may be two primaries."),
                );
                let mut report = self.may_start("start", reason);
                if let Data::Done(data) = &mut report.data
                    && let Some(data) = data.as_object_mut()
                {
                    data.insert("on_unknown".into(), "start".into());
                }
                Ok(report)
            }
            GuardOnUnknown::Demote => {
                self.is_meant()?;
                demote::without_primary(context, &self, reason, &detail).await
            }
        }
    }

    /// Keeps what was seen, so that this node knows of the newer primary when no node responds.
    fn remember(&self, context: &Context) {
        let facts = self.cluster();
        if facts.nodes.iter().any(|node| node.server.is_ok()) {
            discovery::remember(context, &facts, clock::now());
        }
    }

    /// Returns the cluster as it was heard: of several copies of the metadata that of a primary, or of the most advanced node.
    fn cluster(&self) -> ClusterFacts {
        let ours = |peer: &&PeerAnswer| {
            peer.node.facts().is_some_and(|server| server.system_identifier == self.system_identifier)
        };
        let best = self.peers.iter().filter(ours).filter(|peer| peer.rows.is_ok()).max_by_key(|peer| {
            let server = peer.node.facts();
            server.map(|server| (server.timeline, !server.in_recovery, server.wal_end()))
        });
        let rows = best.and_then(|peer| peer.rows.as_ref().ok()).unwrap_or(&self.rows);
        let silent = || crate::facts::cluster::Unavailable::invalid("it was not queried");
        let nodes = rows.iter().map(|row| {
            let heard = self.peers.iter().filter(|peer| peer.registered);
            let mut heard = heard.filter(|peer| peer.node.row.node_id == row.node_id);
            let peer = heard.clone().find(|peer| peer.node.server.is_ok()).or_else(|| heard.next());
            let server = peer.map_or_else(|| Err(silent()), |peer| peer.node.server.clone());
            NodeFacts { row: row.clone(), server }
        });
        ClusterFacts { nodes: nodes.collect(), ..ClusterFacts::default() }
    }
}
