//! The last look before an effect that makes a primary: what the other nodes are at that moment, and by whose lock it may be said.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use tokio::time::timeout;

use super::Live;
use crate::error::{Error, Exit, PermanentError, sentence};
use crate::facts::directory::running_postmaster;
use crate::far_end::remote::Remote;
use crate::observe::under_locks::relock_node;
use crate::pg::client::Session;
use crate::pg::control_file::{self, ControlState};
use crate::pg::endpoint::Endpoint;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::plan::{FinalCheck, FinalCheckFacts};
use crate::system::clock;

/// How long one node may take in addition to the time that its session needed before: inside an outage nothing is waited for any longer.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long this node's own server may take for the question whether it is a standby, before its files are read instead.
const OWN_PATIENCE: Duration = Duration::from_secs(3);

/// How old the last look may be before this process must have been stopped meanwhile.
const STOPPED: Duration = Duration::from_secs(2);

/// Whose cluster a server is of, whether it is in recovery, the newest timeline that it knows of, whether its promotion is requested, and
/// where its WAL ends as a standby.
///
/// The WAL receiver is on a new timeline before any restartpoint is; a role that may not see it, or not read files, has NULL there.
const STANDING: &str = "SELECT json_build_array((pg_control_system()).system_identifier::text, pg_is_in_recovery(), \
     GREATEST((pg_control_checkpoint()).timeline_id, \
     (pg_control_recovery()).min_recovery_end_timeline, (pg_stat_get_wal_receiver()).received_tli), \
     $REQUESTED, GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text)::text";

/// Whether a promotion is requested, for a role that may read files.
const REQUESTED: &str = "pg_read_binary_file('promote', 0, 1, true) IS NOT NULL";

/// Where a standby's WAL ends; a primary has nothing to be compared with any more.
const OWN_END: &str = "SELECT json_build_array(CASE WHEN pg_is_in_recovery() \
     THEN GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text END)::text";

/// The answer to [`STANDING`].
#[derive(Debug, Deserialize)]
struct ServerStateRow(String, bool, TimelineId, Option<bool>, Option<Lsn>);

/// What the last look has shown.
#[derive(Debug, Default)]
pub(crate) struct FinalCheckResult {
    /// Why no primary may be made: a whole sentence.
    pub(crate) objection: Option<String>,
    /// The nodes that have not answered, by name.
    pub(crate) unanswered: Vec<String>,
}

/// What one node has answered.
enum NodeReply {
    Objects(String),
    Agrees,
    Unanswered,
}

impl Live<'_> {
    /// Looks at all other nodes at once, over the sessions that hold their locks.
    ///
    /// # Errors
    /// Exit code 30 if a lock that was lost, or never held, is held by another command now.
    pub(crate) async fn final_check(&self, look: &FinalCheck) -> Result<FinalCheckResult, Error> {
        let seen = self.look_once(look).await?;
        self.looked.set(Some(clock::since_boot()));
        Ok(seen)
    }

    /// Says whether this process, or its host, was stopped since the last look: then the outage is longer than any connection takes, and
    /// what was not to be waited for before is waited for.
    pub(crate) fn was_stopped(&self) -> bool {
        self.looked.get().is_some_and(|at| clock::since_boot().saturating_sub(at) > STOPPED)
    }

    async fn look_once(&self, look: &FinalCheck) -> Result<FinalCheckResult, Error> {
        let ours = self.own_end(look).await?;
        let words = look.others.iter().map(|(node_id, on)| self.query_node(look, *node_id, on, ours));
        let words = join_all(words).await;
        let mut seen = FinalCheckResult::default();
        for ((_, on), word) in look.others.iter().zip(words) {
            match word? {
                NodeReply::Objects(why) => seen.objection = seen.objection.or(Some(why)),
                NodeReply::Unanswered => seen.unanswered.push(on.name.clone()),
                NodeReply::Agrees => {}
            }
        }
        Ok(seen)
    }

    /// Where the WAL of the node itself ends, if the others must not have more; None where what they have beyond it may be lost.
    ///
    /// # Errors
    /// Exit code 6 without an answer: what is not known cannot be compared.
    async fn own_end(&self, look: &FinalCheck) -> Result<Option<Lsn>, Error> {
        if look.behind.is_empty() || self.context.options.accept_data_loss {
            return Ok(None);
        }
        let session = self.held.borrow().get(&look.node_id).filter(|held| !held.is_closed()).cloned();
        let said = match &session {
            // However long it takes: without this node nothing is promoted.
            Some(session) => session.query_json::<(Option<Lsn>,)>(OWN_END, &[]).await.ok(),
            None => None,
        };
        said.map(|(end,)| end).ok_or_else(|| Error {
            no_effect: true,
            ..Error::new(
                Exit::Connection,
                "could not determine where the WAL of the node to be promoted ends",
            )
            .detail("The promotion was not requested: another standby may have more WAL.")
        })
    }

    /// What a node says, and what its host says for it if it does not answer.
    async fn query_node(
        &self,
        look: &FinalCheck,
        node_id: i32,
        on: &Endpoint,
        ours: Option<Lsn>,
    ) -> Result<NodeReply, Error> {
        let host = self.hosts.borrow().get(&node_id).map(Rc::clone);
        let Some(host) = host else { return self.own_word(look, node_id, on, ours).await };
        let (own, host) = tokio::join!(self.own_word(look, node_id, on, ours), query_host_again(&host));
        Ok(match (own?, host) {
            (NodeReply::Unanswered, host) | (_, host @ NodeReply::Objects(_)) => host,
            (own, _) => own,
        })
    }

    async fn own_word(
        &self,
        look: &FinalCheck,
        node_id: i32,
        on: &Endpoint,
        ours: Option<Lsn>,
    ) -> Result<NodeReply, Error> {
        let held = self.held.borrow().get(&node_id).cloned();
        let answer = match &held {
            Some(session) if !session.is_closed() => self.query_state(node_id, session).await,
            _ => None,
        };
        let standing = match (answer, held) {
            (Some(standing), _) => Some(standing),
            // It is late. Its session holds the lock all the same, and may answer the next time.
            (None, Some(session)) if !session.is_closed() => None,
            (None, _) => {
                self.held.borrow_mut().remove(&node_id);
                if !look.relock {
                    return Ok(NodeReply::Unanswered);
                }
                // An answer counts only under the node's lock: without it another command may be at work there.
                let Some(session) = self.relock(node_id, on).await? else { return Ok(NodeReply::Unanswered) };
                self.query_state(node_id, &session).await
            }
        };
        let known = standing.filter(|ServerStateRow(identifier, ..)| !self.is_stranger(identifier));
        let Some(ServerStateRow(_, in_recovery, timeline, requested, end)) = known else {
            return Ok(NodeReply::Unanswered);
        };
        let state = FinalCheckFacts { in_recovery, timeline, requested, end };
        Ok(look.objection(node_id, on, &state, ours).map_or(NodeReply::Agrees, NodeReply::Objects))
    }

    /// Says whether a server is of another cluster than this node: at a node's address, it is not that node.
    pub(crate) fn is_stranger(&self, identifier: &str) -> bool {
        self.context.system_identifier().is_some_and(|own| own != identifier)
    }

    async fn query_state(&self, node_id: i32, session: &Session) -> Option<ServerStateRow> {
        // A right that is missing fails the whole statement, whatever branch it stands in.
        let requested = if self.read_files.borrow().contains(&node_id) { REQUESTED } else { "NULL" };
        let sql = STANDING.replace("$REQUESTED", requested);
        let asked = session.query_json::<ServerStateRow>(&sql, &[]);
        timeout(PATIENCE + self.round_trip.get(), asked).await.ok()?.ok()
    }

    /// Connects to a node and takes its lock; None if it does not answer.
    async fn relock(&self, node_id: i32, on: &Endpoint) -> Result<Option<Session>, Error> {
        let conninfo = self.conninfo(on)?;
        let session = relock_node(self.context, &conninfo, &on.name).await?;
        if let Some(session) = &session {
            self.held.borrow_mut().insert(node_id, session.clone());
        }
        Ok(session)
    }

    /// Returns the session that holds the lock of a node.
    ///
    /// # Errors
    /// Exit code 6 if it is gone: what is sent over another one may meet another command.
    pub(crate) fn holder(&self, node_id: i32, on: &Endpoint) -> Result<Session, Error> {
        let held = self.held.borrow().get(&node_id).filter(|session| !session.is_closed()).cloned();
        held.ok_or_else(|| {
            let mut error = Error::new(
                Exit::Connection,
                format!("the session that holds the lock of {} is gone", on.name),
            )
            .detail(
                "The promotion was not requested: without that session the lock is lost, and another command may be running.",
            );
            error.no_effect = true;
            error
        })
    }

    /// Says whether this node's server is a standby without a request for promotion: over the session that holds its lock, without which
    /// another command may be promoting it.
    pub(crate) async fn stays_standby(&self, on: &Endpoint, data: &std::path::Path) -> anyhow::Result<bool> {
        let own = self.context.config().map_err(|error| anyhow::anyhow!("{error}"))?.node_id;
        let session = match self.holder(own, on) {
            Ok(session) => Some(session),
            Err(_) => self.relock(own, on).await.map_err(PermanentError)?,
        };
        let said = match session {
            Some(session) => session
                .within(OWN_PATIENCE)
                .query_one(REQUESTED_OR_PRIMARY, &[])
                .await
                .map(|row| row.get(0).map(str::to_string))
                .map_err(|error| anyhow::anyhow!("{error}")),
            None => Err(anyhow::anyhow!("{} does not respond", on.name)),
        };
        match said {
            Ok(said) => Ok(said.as_deref() == Some("false")),
            Err(error) => {
                // It does not answer, or the role may not read its files: this host's files say it.
                let requested = data.join("promote").exists();
                let state = control_file::read(data)?.state;
                let standby = match running_postmaster(data) {
                    Some(_) => state == ControlState::InArchiveRecovery,
                    None => {
                        matches!(state, ControlState::InArchiveRecovery | ControlState::ShutDownInRecovery)
                    }
                };
                if running_postmaster(data).is_none() {
                    // Without a server there is nothing that could be promoted; the next start forgets the request.
                    return Ok(standby);
                }
                if !standby && !requested {
                    return Err(error);
                }
                Ok(standby && !requested)
            }
        }
    }
}

/// Asks a host again that has said of a server that it is no primary. One that does not say so again objects: the server may have been
/// started since, and the file that was to prevent that removed.
async fn query_host_again(host: &Remote) -> NodeReply {
    match timeout(PATIENCE + host.round_trip(), host.secure(true)).await {
        Ok(Ok(secured)) => match secured.server.objection() {
            Some(why) => NodeReply::Objects(format!("Node \"{}\": {why}", host.name())),
            None => NodeReply::Agrees,
        },
        Ok(Err(error)) => NodeReply::Objects(sentence(&error.to_string())),
        Err(_) => NodeReply::Objects(format!(
            "pgbaton on the host of node \"{}\" no longer confirms that its server is not a primary.",
            host.name()
        )),
    }
}

/// Whether a server is a primary, or is to become one.
const REQUESTED_OR_PRIMARY: &str =
    "SELECT (NOT pg_is_in_recovery() OR pg_read_binary_file('promote', 0, 1, true) IS NOT NULL)::text";

/// The error of an effect that the last look has forbidden.
pub(crate) fn challenged(step_exit: Exit, why: &str) -> Error {
    let mut error = Error::new(step_exit, "the last check, immediately before the change, does not allow it")
        .detail(sentence(why));
    error.no_effect = true;
    error
}
