//! A switchover by way of active daemons: the leader is asked to hand over, and everything else is done by the daemons. It needs no ssh, and is
//! completed also where this process ends.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pgbaton_lease::mailbox::{Role, Saying, Status};
use pgbaton_lease::{Ask, Flag, Op};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::daemons as daemon_facts;
use crate::observe::daemons::{self, NodeDaemons};
use crate::operation::change_roles::RoleChange;
use crate::output::{Data, Report};
use crate::pg::client::Session;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::{NodeRow, NodeType, event};
use crate::ui::Level;
use crate::units::{seconds, size};

/// How often is looked how far it is: clients cannot write meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// How long the whole may take. Each part has a shorter time of its own, which the daemons keep.
const LONGEST: Duration = Duration::from_secs(90);

/// How much WAL the candidate may lack: the server is stopped while the rest arrives.
const MOST_LAG: u64 = 16 * 1024 * 1024;

/// How long a checkpoint before it may take.
const CHECKPOINT: Duration = Duration::from_secs(600);

/// A hand-over that can be asked for.
struct HandOver<'a> {
    context: &'a Context,
    nodes: &'a [NodeDaemons],
    /// The node that leads, its daemon's line, and a session there.
    leader: (&'a NodeRow, Status, &'a Session),
    /// The node that is to lead, and a session there.
    heir: (&'a NodeRow, &'a Session),
}

/// Asks the leader's daemon to hand over to a node, and waits until it has.
///
/// # Errors
/// Exit code 1 where it cannot be asked for, and nothing was changed; 18 if the leader has taken the role back; 33 if there is no primary; 22 if
/// a node is not attached in time.
pub async fn hand_over(
    context: &Context,
    nodes: &[NodeDaemons],
    heir: i32,
    op: Op,
    begun: Instant,
) -> Result<Report> {
    let hand_over = HandOver::prepare(context, nodes, heir)?;
    hand_over.look_at_lag().await?;
    let (from, to) = (&hand_over.leader.0.node_name, &hand_over.heir.0.node_name);
    if context.options.dry_run {
        context
            .ui
            .say(Level::Info, &format!("the daemon of \"{from}\" would be asked to hand over to \"{to}\""));
        return Ok(Report::new(Data::Done(json!({ "from": from, "to": to }))));
    }
    hand_over.checkpoint().await;
    hand_over.ask(op).await?;
    let outage_s = hand_over.watch(op).await?;
    hand_over.conclude(begun, outage_s).await
}

impl<'a> HandOver<'a> {
    /// Makes sure that the daemons can do it.
    fn prepare(context: &'a Context, nodes: &'a [NodeDaemons], heir: i32) -> Result<Self> {
        let unchanged = "Nothing was changed.";
        let data = || nodes.iter().filter(|node| node.row.node_type != NodeType::Witness);
        let is_off = |node: &&NodeDaemons| {
            node.seen.is_some() && node.own().is_none_or(|status| status.flag != Flag::Active)
        };
        if let Some(off) = data().find(is_off) {
            return Err(Error::failed("automatic failover is active on some nodes only")
                .detail(format!("The daemon of node \"{}\" is not active. {unchanged}", off.row.node_name))
                .hint("Start that daemon, or run \"pgbaton service unpause\"; or pause all of them: \"pgbaton service pause\"."));
        }
        let leads = |node: &&NodeDaemons| node.own().is_some_and(|status| status.role == Role::Leader);
        let Some(leader) = data().filter(leads).max_by_key(|node| node.own().map(|status| status.timeline))
        else {
            return Err(Error::failed("no daemon leads").detail(unchanged).hint(
                "If the primary is lost, another node takes over by itself: \"pgbaton service status\" shows it.",
            ));
        };
        if leader.row.node_id == heir {
            return Err(Error::failed(format!("node \"{}\" is the primary already", leader.row.node_name))
                .detail(unchanged)
                .hint("Run the command on the standby that is to become the primary, or name it with --node-id."));
        }
        let found = data().find(|node| node.row.node_id == heir);
        let name = found.map_or_else(String::new, |node| node.row.node_name.clone());
        let heir = found.and_then(|node| node.seen.as_ref().map(|(session, _)| (&node.row, session)));
        match (leader.own(), leader.seen.as_ref(), heir) {
            (Some(status), Some((session, _)), Some(heir)) => {
                Ok(Self { context, nodes, leader: (&leader.row, *status, session), heir })
            }
            _ => Err(Error::new(Exit::Connection, format!("could not connect to node \"{name}\""))
                .detail(unchanged)),
        }
    }

    /// Refuses a candidate that lacks much: the outage would last until it has it.
    async fn look_at_lag(&self) -> Result<()> {
        let position = async |session: &Session, sql: &str| -> Option<Lsn> {
            session.query_one(sql, &[]).await.ok()?.get(0)?.parse().ok()
        };
        let (written, received) = tokio::join!(
            position(self.leader.2, "SELECT pg_current_wal_lsn()"),
            position(self.heir.1, "SELECT GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())")
        );
        let lacks = match (written, received) {
            (Some(written), Some(received)) => written.0.saturating_sub(received.0),
            _ => 0,
        };
        if lacks > MOST_LAG && !self.context.options.force {
            return Err(Error::failed(format!(
                "node \"{}\" lacks {} of WAL",
                self.heir.0.node_name,
                size(lacks)
            ))
            .detail("Clients could not write until it has received them. Nothing was changed.")
            .hint("Wait until it has caught up, or repeat the command with --force."));
        }
        Ok(())
    }

    /// Writes a checkpoint on both, where the role may: what the stop has to write then is written while clients still work.
    async fn checkpoint(&self) {
        let sessions = [self.leader.2, self.heir.1].map(|session| session.within(CHECKPOINT));
        join_all(sessions.iter().map(|session| session.batch("CHECKPOINT"))).await;
    }

    async fn ask(&self, op: Op) -> Result<()> {
        let (row, status, _) = &self.leader;
        let name = &row.node_name;
        let heir = u32::try_from(self.heir.0.node_id).ok();
        let said = daemons::ask_about(self.context, row, status, (op, Ask::HandOver(0)), heir).await;
        let refused = |why: String| {
            Err(Error::failed(format!("the daemon of node \"{name}\" does not hand over"))
                .detail(format!("{why} Nothing was changed."))
                .hint("\"pgbaton service status\" shows the daemons. A hand-over needs all other nodes that vote, where there are three."))
        };
        match said {
            Some((_, Saying::No(refusal))) => {
                refused(format!("It says: {}.", daemon_facts::refusal_text(refusal)))
            }
            Some(_) => Ok(()),
            None => refused("It did not answer in time.".to_string()),
        }
    }

    /// Waits until this node is the primary. Returns for how many seconds no server accepted writes.
    async fn watch(&self, op: Op) -> Result<Option<f64>> {
        let begun = Instant::now();
        let (from, to) = (&self.leader.0.node_name, &self.heir.0.node_name);
        let mut accepted = Instant::now();
        let mut has_begun = false;
        while begun.elapsed() < LONGEST {
            let (old, new, lines) = tokio::join!(
                accepts_writes(self.leader.2),
                accepts_writes(self.heir.1),
                daemon_facts::read(self.heir.1)
            );
            if old == Some(true) {
                accepted = Instant::now();
            }
            if new == Some(true) {
                return Ok(Some(accepted.elapsed().as_secs_f64()));
            }
            let says = lines.ok().and_then(|lines| lines.of(self.leader.0.node_id).copied());
            let is_at_it = says
                .and_then(|status| status.says)
                .is_some_and(|(said, saying)| said == op && !matches!(saying, Saying::No(_)));
            has_begun |= is_at_it;
            if has_begun && !is_at_it && old == Some(true) {
                return Err(Error {
                    changed: false,
                    ..Error::new(Exit::Switchover, format!("the role was not handed over to \"{to}\""))
                        .detail(format!("\"{from}\" has taken it back, and is the primary. No WAL is lost."))
                        .hint(format!("The log of the daemon of \"{from}\" says why."))
                });
            }
            sleep(LOOK).await;
        }
        Err(Error {
            changed: true,
            ..Error::new(Exit::NoPrimary, format!("\"{to}\" was not seen as the primary within {} s", LONGEST.as_secs()))
                .detail("The daemons go on: one of the nodes becomes the primary as soon as a majority of them respond.")
                .hint("Run \"pgbaton service status\" and \"pgbaton cluster show\".")
        })
    }

    /// Waits until the others are attached, and reports.
    async fn conclude(&self, begun: Instant, outage_s: Option<f64>) -> Result<Report> {
        let context = self.context;
        let config = context.config()?;
        let session = self.heir.1;
        let to = &self.heir.0.node_name;
        let standbys: Vec<&str> = self
            .nodes
            .iter()
            .filter(|node| node.row.node_type != NodeType::Witness && node.row.node_id != self.heir.0.node_id)
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
        let gap = outage_s.map_or_else(String::new, |s| format!("; clients could not write for {s:.3} s"));
        let text = format!("node \"{to}\" is the primary now{gap}");
        context.ui.say(Level::Notice, &text);
        let ok = missing.is_empty();
        // That the role was handed over is recorded by the daemon of the new primary, also where this process has ended.
        if !ok {
            let details = format!("not every standby is attached: {}", missing.join(", "));
            let row = event::insert(self.heir.0.node_id, "standby_switchover", false, &details);
            if let Err(error) = session.transaction(&[row]).await {
                context.ui.say(Level::Warning, &format!("could not record the event: {error}"));
            }
        }
        let data = RoleChange {
            from: Some(self.leader.0.node_id),
            to: self.heir.0.node_id,
            timeline: timeline(session).await,
            outage_s,
            begun,
            wal_lost_bytes: Some(0),
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
                format!("\"{to}\" is the primary, but not every standby is attached"),
            )
            .detail(format!("Missing: {}. Their daemons go on trying.", missing.join(", ")))
            .hint("Run \"pgbaton cluster show\".")
        })
    }
}

/// Returns the standby that a hand-over would go to: an active one that may be promoted, with the most WAL of those; None if there is none.
pub async fn best_heir(nodes: &[NodeDaemons], leader: i32) -> Option<i32> {
    const RECEIVED: &str = "SELECT GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())";
    let standbys = nodes.iter().filter(|node| {
        let follows = |status: &Status| status.role == Role::Follower && status.flag == Flag::Active;
        node.row.node_id != leader
            && node.row.node_type != NodeType::Witness
            && node.row.priority > 0
            && node.own().is_some_and(follows)
    });
    let positions = join_all(standbys.map(async |node| {
        let (session, _) = node.seen.as_ref()?;
        let row = session.query_one(RECEIVED, &[]).await.ok()?;
        let position: Lsn = row.get(0)?.parse().ok()?;
        Some((position.0, node.row.priority, node.row.node_id))
    }))
    .await;
    // Of two that have the same, the preferred one; and the first of those.
    let best =
        positions.into_iter().flatten().max_by_key(|(position, priority, id)| (*position, *priority, -id));
    best.map(|(_, _, id)| id)
}

pub(super) fn with(mut data: Value, name: &str, value: &str) -> Value {
    if let Value::Object(fields) = &mut data {
        fields.insert(name.to_string(), json!(value));
    }
    data
}

pub(super) async fn accepts_writes(session: &Session) -> Option<bool> {
    let row =
        session.within(Duration::from_secs(1)).query_one("SELECT pg_is_in_recovery()", &[]).await.ok()?;
    row.get(0).map(|text| text == "f")
}

pub(super) async fn attached(session: &Session) -> Vec<String> {
    const STREAMING: &str = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'";
    let rows = session.query(STREAMING, &[]).await.unwrap_or_default();
    rows.iter().filter_map(|row| row.get(0).map(str::to_string)).collect()
}

pub(super) async fn timeline(session: &Session) -> Option<TimelineId> {
    let row = session.query_one("SELECT pg_walfile_name(pg_current_wal_insert_lsn())", &[]).await.ok()?;
    u32::from_str_radix(row.get(0)?.get(..8)?, 16).ok().map(TimelineId)
}
