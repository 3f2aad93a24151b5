//! The sessions on servers: opened, kept while they are idle, and the statements and questions that are sent over them.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::Live;
use crate::context::not_connected;
use crate::error::{Error, Exit, sentence};
use crate::operation::wait::POLL;
use crate::pg::client::{Session, SqlError, SqlErrorKind};
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::Endpoint;
use crate::pg::failure::Answered;
use crate::pg::statement::Statement;
use crate::plan::{Op, Plan, Probe};
use crate::secret::Secret;

impl Live<'_> {
    /// Returns a session on a server: one that is open already, or a new one. The caller returns it after use, unless there was an error.
    pub(super) async fn session(&self, on: &Endpoint) -> Result<Session, Error> {
        match self.idle(on) {
            Some(session) => Ok(session),
            None => self.connect(on).await,
        }
    }

    /// Returns a session on which events are recorded, if the server can be reached.
    pub async fn session_for_events(&self, on: &Endpoint) -> Option<Session> {
        match self.session(on).await {
            Ok(session) => {
                self.keep_idle(on, session.clone());
                Some(session)
            }
            Err(error) => {
                self.context.debug(&format!("no events are recorded on {}: {error}", on.name));
                None
            }
        }
    }

    /// Takes a session that is not in use.
    pub(super) fn idle(&self, on: &Endpoint) -> Option<Session> {
        let pop = || self.idle.borrow_mut().get_mut(&key(on)).and_then(Vec::pop);
        std::iter::from_fn(pop).find(|session| !session.is_closed())
    }

    /// Keeps a session for the next question.
    pub(super) fn keep_idle(&self, on: &Endpoint, session: Session) {
        self.idle.borrow_mut().entry(key(on)).or_default().push(session);
    }

    /// Opens the sessions that the outage needs, ahead of it. Where it fails, the step itself will try, and say why it cannot.
    pub async fn warm_up(&self, plan: &Plan) {
        let outages = plan.phases.iter().filter(|phase| phase.outage);
        let mut servers: Vec<&Endpoint> = Vec::new();
        for step in outages.flat_map(|phase| &phase.steps) {
            let (Op::Sql { on, .. } | Op::Promote { on, .. } | Op::Wait(Probe::HasAll { on, .. })) = &step.op
            else {
                continue;
            };
            if !servers.contains(&on) {
                servers.push(on);
            }
        }
        for on in servers {
            if let Ok(session) = self.connect(on).await {
                self.keep_idle(on, session);
            }
        }
        // What one question takes there and back, for the bounds inside the outage.
        let held: Vec<Session> = self.held.borrow().values().cloned().collect();
        let asked = join_all(held.iter().map(async |session| {
            let begun = Instant::now();
            session.query_one("SELECT 1", &[]).await.ok().map(|_| begun.elapsed())
        }));
        self.round_trip.set(asked.await.into_iter().flatten().max().unwrap_or_default());
    }

    pub(super) async fn connect(&self, on: &Endpoint) -> Result<Session, Error> {
        self.context.connect(&self.conninfo(on)?).await.map_err(|error| {
            let mut error = not_connected(&on.name, error);
            error.no_effect = true;
            error
        })
    }

    /// Returns where a server is, passwords included.
    pub(super) fn conninfo(&self, on: &Endpoint) -> Result<Conninfo, Error> {
        let secret = on.secret.as_ref().map(|name| self.secret(name)).transpose()?;
        let text = secret.as_ref().map_or(on.conninfo.as_str(), Secret::reveal);
        Conninfo::parse(text).map_err(|error| {
            Error::new(Exit::Connection, format!("invalid connection string for {}", on.name))
                .detail(sentence(&error.to_string()))
        })
    }

    /// Returns a statement with its secrets filled in.
    pub(super) fn filled(&self, statement: &Statement) -> Result<Statement, Error> {
        let mut filled = statement.clone();
        for (index, name) in &statement.secrets {
            if let Some(param) = filled.params.get_mut(*index) {
                *param = Some(self.secret(name)?.reveal().to_string());
            }
        }
        Ok(filled)
    }

    /// Runs statements on a server, in one transaction if there are several: some, as VACUUM, must be alone.
    ///
    /// # Errors
    /// Exit code 6 without a connection, 7 if a statement fails.
    pub async fn sql(&self, on: &Endpoint, statements: &[Statement], timeout_s: u32) -> Result<(), Error> {
        let session = self.session(on).await?;
        let statements =
            statements.iter().map(|statement| self.filled(statement)).collect::<Result<Vec<_>, _>>()?;
        let bound = Duration::from_secs(u64::from(timeout_s));
        let session_within = session.within(bound);
        // One statement is its own transaction: ALTER SYSTEM and CREATE DATABASE run in no other.
        let run = match statements.as_slice() {
            [one] => {
                let params: Vec<Option<&str>> = one.params.iter().map(Option::as_deref).collect();
                session_within.execute(&one.text, &params).await.map(drop)
            }
            several => session_within.transaction(several).await,
        };
        run.map_err(|error| sql_failed(on, error))?;
        self.keep_idle(on, session);
        Ok(())
    }

    /// Asks a server for one value, which is text or NULL.
    pub(super) async fn value_of(
        &self,
        on: &Endpoint,
        sql: &str,
        params: &[Option<&str>],
    ) -> anyhow::Result<Option<String>> {
        let session = self.session(on).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let row = session.query_one(sql, params).await?;
        self.keep_idle(on, session);
        Ok(row.get(0).map(str::to_string))
    }

    /// Says whether a server does not answer once in so long. An error that it sends is an answer.
    pub(super) async fn is_silent(&self, on: &Endpoint, conninfo: &Conninfo, within: Duration) -> bool {
        let answers = async {
            while !self.answers(on, conninfo).await {
                sleep(POLL.1).await;
            }
        };
        timeout(within, answers).await.is_err()
    }

    async fn answers(&self, on: &Endpoint, conninfo: &Conninfo) -> bool {
        let mut session = self.idle(on);
        if session.is_none() {
            // Another question may be using it, and a login can take longer than a server may be silent.
            sleep(POLL.1).await;
            session = self.idle(on);
        }
        let session = match session {
            Some(session) => session,
            None => match self.context.connect(conninfo).await {
                Ok(session) => session,
                Err(error) => return error.answered == Answered::Spoke,
            },
        };
        match session.query_one("SELECT 'here'", &[]).await {
            Ok(_) => {
                self.keep_idle(on, session);
                true
            }
            Err(error) => error.kind == SqlErrorKind::Server,
        }
    }
}

/// Distinguishes one server from another.
fn key(on: &Endpoint) -> String {
    format!("{} {}", on.name, on.conninfo)
}

/// Turns a failed statement into the error of a step.
pub(super) fn sql_failed(on: &Endpoint, error: SqlError) -> Error {
    let exit = if error.kind == SqlErrorKind::Closed { Exit::Connection } else { Exit::Query };
    let out = Error::new(exit, format!("a statement failed on {}", on.name)).because(&error);
    Error { no_effect: error.kind == SqlErrorKind::Server, ..out }
}
