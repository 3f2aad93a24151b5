//! A promotion by way of active daemons: the daemon of the standby is asked to stand for election, and is promoted once it has a majority of
//! votes. That is safe whoever is wrong about the primary: a leader that lives keeps its votes, and any other one has stopped when the grace is
//! over. Where every other node with data is proven to be off, or stands aside, the grace is left out.
//!
//! A proof counts only after the votes: a node that is switched off may be switched on again, and lead again, before they are taken.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pgbaton_lease::mailbox::{NodeId, Role, Saying, Status};
use pgbaton_lease::{Ask, Flag, Moment, Nodes, Op};
use serde_json::json;
use tokio::time::sleep;

use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::daemons as daemon_facts;
use crate::observe::daemons::{self, NodeDaemons, Question, params};
use crate::operation::change_roles::RoleChange;
use crate::operation::fence::{Fenced, switch_off};
use crate::operation::hand_over::{accepts_writes, attached, timeline, with};
use crate::output::{Data, Report};
use crate::pg::client::Session;
use crate::plan::promote::Promotion;
use crate::registry::{NodeRow, NodeType, event};
use crate::ui::Level;
use crate::units::seconds;

/// How often is looked how far it is: clients cannot write meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// How long the server may take to accept writes once the grace is over: its WAL is replayed first.
const PROMOTES: Duration = Duration::from_secs(60);

/// A promotion that can be asked for.
struct Election<'a> {
    context: &'a Context,
    nodes: &'a [NodeDaemons],
    /// This node, its daemon's line, and a session there.
    candidate: (&'a NodeRow, Status, &'a Session),
    /// The nodes that are named as switched off.
    proven_off: Vec<&'a NodeRow>,
}

/// What stands in the place of the grace, for one node.
enum Proof<'a> {
    /// It is off.
    Off,
    /// It stands aside, for as long as the question is shown.
    Aside(Question<'a>),
    /// Nothing, and why.
    None(String),
}

/// How far it is.
enum Progress {
    /// This node is the primary.
    Promoted,
    /// The votes are not there, or were lost.
    GivenUp,
    /// The time is over.
    Late,
}

/// Asks the daemon of this node to stand for election, and waits until it is the primary.
///
/// # Errors
/// Exit code 1 where it cannot be asked for, 31 if no majority of votes was to be had: nothing was changed in both; 8 if the promotion was not
/// seen in time; 22 if a standby is not attached in time.
pub async fn elect(
    context: &Context,
    rows: &[NodeRow],
    proven_off: &[String],
    promotion: &Promotion,
    begun: Instant,
) -> Result<Report> {
    let nodes = daemons::of_cluster(context, rows).await;
    let election = Election::prepare(context, &nodes, proven_off)?;
    let name = &election.candidate.0.node_name;
    if context.options.dry_run {
        let text = format!("the daemon of \"{name}\" would be asked to stand for election");
        context.ui.say(Level::Info, &text);
        return Ok(Report::new(Data::Done(
            json!({ "from_node_id": promotion.former, "to_node_id": election.candidate.0.node_id }),
        )));
    }
    let op = daemons::random_op();
    election.ask(op).await?;
    match election.watch(op).await? {
        Progress::Promoted => election.conclude(promotion, begun).await,
        Progress::GivenUp => Err(election.no_majority().await),
        Progress::Late => Err(Error {
            changed: true,
            ..Error::new(Exit::Promotion, format!("\"{name}\" was not seen as the primary in time"))
                .detail("Its daemon goes on: it is promoted as soon as a majority of votes has been held for the grace.")
                .hint("Run \"pgbaton service status\" and \"pgbaton cluster show\".")
        }),
    }
}

impl<'a> Election<'a> {
    /// Makes sure that the daemons can do it, and that what is said to be off does not respond.
    fn prepare(context: &'a Context, nodes: &'a [NodeDaemons], proven_off: &[String]) -> Result<Self> {
        let unchanged = "Nothing was changed.";
        let config = context.config()?;
        let data = || nodes.iter().filter(|node| node.row.node_type != NodeType::Witness);
        let is_paused = |node: &&NodeDaemons| {
            node.own().is_some_and(|status| matches!(status.flag, Flag::Held | Flag::Full))
        };
        if let Some(paused) = data().find(is_paused) {
            return Err(Error::failed("automatic failover is paused on some nodes only")
                .detail(format!("The daemon of node \"{}\" is paused. {unchanged}", paused.row.node_name))
                .hint("Run \"pgbaton service unpause\" or \"pgbaton service pause\", until all nodes agree; \"pgbaton service status\" shows them."));
        }
        let off = daemons::named_off(nodes, proven_off)?;
        let own = data().find(|node| node.row.node_id == config.node_id);
        let session = own.and_then(|node| node.seen.as_ref()).map(|(session, _)| session);
        match (own, own.and_then(NodeDaemons::own), session) {
            (Some(own), Some(status), Some(session)) => {
                Ok(Self { context, nodes, candidate: (&own.row, *status, session), proven_off: off })
            }
            (_, None, Some(_)) => Err(Error::failed("automatic failover is active on other nodes, but not on this one")
                .detail(format!("No daemon runs on node \"{}\". {unchanged}", config.node_name))
                .hint("Start it: it is what promotes this node while others are active. Or pause the others: \"pgbaton service pause\".")),
            _ => Err(Error::new(Exit::Connection, format!("could not connect to node \"{}\"", config.node_name))
                .detail(unchanged)),
        }
    }

    fn others(&self) -> impl Iterator<Item = &'a NodeDaemons> {
        let own = self.candidate.0.node_id;
        self.nodes
            .iter()
            .filter(move |node| node.row.node_type != NodeType::Witness && node.row.node_id != own)
    }

    async fn ask(&self, op: Op) -> Result<()> {
        let (row, status, _) = &self.candidate;
        let refused = |why: String| {
            Err(Error::failed(format!(
                "the daemon of node \"{}\" does not stand for election",
                row.node_name
            ))
            .detail(format!("{why} Nothing was changed."))
            .hint("\"pgbaton service status\" shows the daemons."))
        };
        match daemons::ask(self.context, row, status, op, Ask::Candidate).await {
            Some((_, Saying::No(refusal))) => {
                refused(format!("It says: {}.", daemon_facts::refusal_text(refusal)))
            }
            Some(_) => Ok(()),
            // It may have heard the question all the same, and stands then.
            None => match self.line().await {
                Some(now) if now.role == Role::Candidate || now.role == Role::Leader => Ok(()),
                _ => refused("It did not answer in time.".to_string()),
            },
        }
    }

    /// What the daemon of this node shows now.
    async fn line(&self) -> Option<Status> {
        let lines = daemon_facts::read(self.candidate.2).await.ok()?;
        lines.of(self.candidate.0.node_id).copied()
    }

    /// Waits until this node is the primary, and brings the proofs that shorten it.
    async fn watch(&self, op: Op) -> Result<Progress> {
        let params = params(self.context.config()?);
        let votes = Duration::from_millis(params.silence + 4 * params.heartbeat + params.connect);
        let until = Instant::now() + votes + Duration::from_millis(params.grace) + PROMOTES;
        let mut is_proven = false;
        let mut questions = Vec::new();
        // A session that is being opened anew shows nothing for a moment.
        let mut stood_last = Instant::now();
        while Instant::now() < until {
            if accepts_writes(self.candidate.2).await == Some(true) {
                return Ok(Progress::Promoted);
            }
            let line = self.line().await;
            match line {
                Some(Status { role: Role::Candidate | Role::Leader, says, .. }) => {
                    stood_last = Instant::now();
                    if let Some((said, Saying::Votes(moment))) = says
                        && said == op
                        && !is_proven
                    {
                        is_proven = true;
                        questions = self.prove(op, moment).await?;
                    }
                }
                Some(_) if stood_last.elapsed() > Duration::from_millis(2 * params.heartbeat) => {
                    return Ok(Progress::GivenUp);
                }
                _ => {}
            }
            sleep(LOOK).await;
        }
        // They are shown until here: what stands aside does so for as long as it is asked to.
        drop(questions);
        Ok(Progress::Late)
    }

    /// Proves for each other node with data that it is off, or makes it stand aside. Returns the questions that have to go on being shown.
    async fn prove(&self, op: Op, moment: Moment) -> Result<Vec<Question<'a>>> {
        let proofs = join_all(self.others().map(|node| self.prove_one(node, op, moment))).await;
        let mut questions = Vec::new();
        let mut said = false;
        for (node, proof) in self.others().zip(proofs) {
            match proof? {
                Proof::Aside(question) => questions.push(question),
                Proof::Off => {}
                Proof::None(why) if !said => {
                    said = true;
                    let grace = params(self.context.config()?).grace.div_ceil(1000);
                    self.context.ui.message(
                        Level::Notice,
                        &format!("the majority has voted; waiting until an earlier lease must have ended ({grace} s)"),
                        Some(&format!("Node \"{}\": {why}", node.row.node_name)),
                        None,
                    );
                }
                Proof::None(_) => {}
            }
        }
        Ok(questions)
    }

    async fn prove_one(&self, node: &'a NodeDaemons, op: Op, moment: Moment) -> Result<Proof<'a>> {
        let none = |why: &str| Ok(Proof::None(why.to_string()));
        if node.seen.is_some() {
            let Some(own) = node.own() else { return none("No daemon runs there that could stand aside.") };
            let ask = (op, Ask::Aside(moment));
            let Some(question) = Question::put(self.context, &node.row, own, ask, None).await else {
                return none("It does not respond any more.");
            };
            return match question.answer().await {
                Some((_, Saying::Aside(_))) => Ok(Proof::Aside(question)),
                Some((_, Saying::No(refusal))) => Ok(Proof::None(format!(
                    "Its daemon does not stand aside: {}.",
                    daemon_facts::refusal_text(refusal)
                ))),
                _ => none("Its daemon did not answer in time."),
            };
        }
        if !self.proven_off.iter().any(|off| off.node_id == node.row.node_id) {
            match switch_off(self.context, &node.row).await? {
                Fenced::Off => {}
                Fenced::No(why) => {
                    return Ok(Proof::None(format!("fence_command did not switch it off. {why}")));
                }
                Fenced::NoCommand => return none("It does not respond, and is not proven to be off."),
            }
        }
        let (row, status, _) = &self.candidate;
        let id = NodeId::try_from(node.row.node_id).ok();
        let ask = (op, Ask::Off(Nodes::one(0), moment));
        match daemons::ask_about(self.context, row, status, ask, id).await {
            Some((_, Saying::Noted)) => Ok(Proof::Off),
            _ => none("The daemon of this node has not taken note that it is off."),
        }
    }

    /// Says who has the votes, or does not respond.
    async fn no_majority(&self) -> Error {
        let rows: Vec<NodeRow> = self.nodes.iter().map(|node| node.row.clone()).collect();
        let nodes = daemons::of_cluster(self.context, &rows).await;
        let mut facts = Vec::new();
        for node in &nodes {
            let name = &node.row.node_name;
            match &node.seen {
                None => facts.push(format!("Node \"{name}\" does not respond.")),
                Some((_, seen)) => match seen.holder {
                    Some(Some(holder)) if i64::from(holder.node) != i64::from(self.candidate.0.node_id) => {
                        facts.push(format!("The vote of node \"{name}\" is held by node {}.", holder.node));
                    }
                    Some(None) => facts.push(format!(
                        "The vote of node \"{name}\" is held by a session of another program."
                    )),
                    _ => {}
                },
            }
        }
        Error::new(
            Exit::SecondPrimary,
            format!("node \"{}\" has not got a majority of the votes", self.candidate.0.node_name),
        )
        .detail(format!("{} Nothing was changed.", facts.join(" ")).trim_start().to_string())
        .hint(
            "Bring back enough nodes for a majority. If they are gone for good: stop the daemons that are left, \
             and run \"pgbaton service reset\" on each of their nodes; then promote.",
        )
    }

    /// Waits until the others are attached, and reports.
    async fn conclude(&self, promotion: &Promotion, begun: Instant) -> Result<Report> {
        let context = self.context;
        let config = context.config()?;
        let (row, _, session) = &self.candidate;
        let name = &row.node_name;
        let standbys: Vec<&str> = self
            .others()
            .filter(|node| node.seen.is_some())
            .map(|node| node.row.node_name.as_str())
            .collect();
        let until = Instant::now() + Duration::from_secs(seconds(config.standby_reconnect_timeout).into());
        let missing = loop {
            let attached = attached(session).await;
            let missing: Vec<&str> =
                standbys.iter().copied().filter(|name| !attached.iter().any(|one| one == name)).collect();
            if missing.is_empty() || Instant::now() >= until {
                break missing;
            }
            sleep(10 * LOOK).await;
        };
        let timeline = timeline(session).await;
        let on = timeline.map_or_else(String::new, |timeline| format!(", on timeline {timeline}"));
        let lost = match promotion.wal_lost_bytes {
            Some(0) => String::new(),
            Some(bytes) => format!("; {bytes} bytes of WAL of the primary before are missing"),
            None => "; how much WAL of the primary before is missing is unknown".to_string(),
        };
        let text = format!("node \"{name}\" (ID {}) is the primary now{on}", row.node_id);
        context.ui.say(Level::Notice, &text);
        let ok = missing.is_empty();
        let row = event::insert(row.node_id, "standby_promote", ok, &format!("{text}{lost}"));
        if let Err(error) = session.transaction(&[row]).await {
            context.ui.say(Level::Warning, &format!("could not record the event: {error}"));
        }
        let data = RoleChange {
            from: promotion.former,
            to: config.node_id,
            timeline,
            outage_s: None,
            begun,
            wal_lost_bytes: promotion.wal_lost_bytes,
        }
        .data();
        let data = with(data, "by", "daemons");
        if ok {
            return Ok(Report { changed: true, ..Report::new(Data::Done(data)) });
        }
        Err(Error {
            changed: true,
            data,
            ..Error::new(
                Exit::Incomplete,
                format!("\"{name}\" is the primary, but not every standby is attached"),
            )
            .detail(format!("Missing: {}. Their daemons go on trying.", missing.join(", ")))
            .hint("Run \"pgbaton cluster show\".")
        })
    }
}
