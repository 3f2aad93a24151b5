//! Asking a server.
//!
//! Everything goes as text: parameters in, columns out, so that a query reads the same here and in psql, and nothing
//! depends on a driver's idea of types. Queries with parameters cast their columns to text. Nothing waits for longer than its
//! deadline.

use std::fmt;
use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use crate::error::{Text, carries_text};
use crate::pg::statement::Statement;

/// Why a query failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// The server's code, if the server said no.
    pub sqlstate: Option<String>,
    /// What the server said, or what has become of the connection.
    pub text: Text,
    /// What kind of failure.
    pub kind: SqlErrorKind,
}

/// What kind of failure a query met. After `TimedOut` and `Closed` it is unknown whether it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// The deadline passed.
    TimedOut,
    /// The connection is gone.
    Closed,
    /// The server said no, or its answer is not what the query promises.
    Server,
}

carries_text!(SqlError);

impl SqlError {
    /// The server's answer makes no sense, or is none that we can go on from.
    pub fn answer(text: impl Into<Text>) -> Self {
        Self::new(SqlErrorKind::Server, text)
    }

    /// Starts an error without an SQLSTATE.
    pub fn new(kind: SqlErrorKind, text: impl Into<Text>) -> Self {
        Self { sqlstate: None, text: text.into(), kind }
    }
}

impl From<tokio_postgres::Error> for SqlError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let source = std::error::Error::source(&error);
            let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
            return match (error.is_closed(), io) {
                (true, _) => Self::new(SqlErrorKind::Closed, "connection to the server was closed"),
                (false, Some(io)) => {
                    Self::new(SqlErrorKind::Closed, format!("connection to the server was lost: {io}"))
                }
                (false, None) => {
                    Self::new(SqlErrorKind::Server, source.map_or(error.to_string(), ToString::to_string))
                }
            };
        };
        use tokio_postgres::error::Severity;
        let fatal = matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        Self {
            sqlstate: Some(db.code().code().into()),
            text: Text {
                message: db.message().into(),
                detail: db.detail().map(Into::into),
                hint: db.hint().map(Into::into),
            },
            kind: if fatal { SqlErrorKind::Closed } else { SqlErrorKind::Server },
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl std::error::Error for SqlError {}

/// A row: text or NULL in each column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(Vec<Option<String>>);

impl Row {
    /// Returns a column, counted from 0; None for NULL, and for a column that is not there.
    pub fn get(&self, column: usize) -> Option<&str> {
        self.0.get(column)?.as_deref()
    }

    fn read(row: &tokio_postgres::Row) -> Result<Self, SqlError> {
        let columns = row.columns().iter().enumerate().map(|(i, column)| {
            row.try_get::<_, Option<String>>(i).map_err(|_| {
                let (name, of) = (column.name(), column.type_());
                SqlError::new(
                    SqlErrorKind::Server,
                    format!("column \"{name}\" of the result is of type {of}, not text"),
                )
            })
        });
        columns.collect::<Result<_, _>>().map(Self)
    }
}

impl From<&SimpleQueryRow> for Row {
    fn from(row: &SimpleQueryRow) -> Self {
        Self((0..row.len()).map(|column| row.get(column).map(str::to_string)).collect())
    }
}

struct Shared {
    client: tokio_postgres::Client,
    /// The server, for people.
    name: String,
    version: u32,
    /// The password went over the network as it is.
    exposed: bool,
    /// The `statement_timeout` that is set on the server, in milliseconds.
    timeout_sent_ms: AtomicU64,
}

/// A session on a server, with a deadline for each call. Clones are the same session.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    deadline: Duration,
}

/// Returns the server's bound for a statement, in milliseconds: a little less than the client's, so that a server that is
/// well ends the statement by itself and the session stays usable.
pub(super) fn statement_timeout(deadline: Duration) -> u64 {
    u64::try_from(deadline.as_millis() * 9 / 10).unwrap_or(u64::MAX).clamp(1, i32::MAX as u64)
}

impl Session {
    pub(super) fn new(
        client: tokio_postgres::Client,
        name: String,
        version: u32,
        deadline: Duration,
        exposed: bool,
    ) -> Self {
        let timeout_sent_ms = AtomicU64::new(statement_timeout(deadline));
        Self { shared: Arc::new(Shared { client, name, version, exposed, timeout_sent_ms }), deadline }
    }

    /// Returns the same session with another deadline for each call.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), deadline }
    }

    /// Returns the server's version as a number: 150020.
    pub fn server_version_num(&self) -> u32 {
        self.shared.version
    }

    /// Says whether the password was sent over the network as it is, without TLS.
    pub fn exposed_password(&self) -> bool {
        self.shared.exposed
    }

    /// Names the server that is connected to, for people: `server at "node1" (10.0.0.1), port 5432`.
    pub fn server_name(&self) -> &str {
        &self.shared.name
    }

    /// Says whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.shared.client.is_closed()
    }

    /// Runs a query whose columns are text. Parameters are text too: cast them, `$1::int`.
    ///
    /// Without parameters it goes by the simple protocol, in which the server writes every type as text, and has less to do.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    pub async fn query(&self, sql: &str, params: &[Option<&str>]) -> Result<Vec<Row>, SqlError> {
        if params.is_empty() {
            let answer = self.bounded(async { Ok(self.shared.client.simple_query(sql).await?) }).await?;
            let rows = answer.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.into()),
                _ => None,
            });
            return Ok(rows.collect());
        }
        let params = typed(params);
        let rows = self.bounded(async { Ok(self.shared.client.query_typed(sql, &params).await?) }).await?;
        rows.iter().map(Row::read).collect()
    }

    /// Runs a query that has exactly one row.
    ///
    /// # Errors
    /// Also if it has none, or several.
    pub async fn query_one(&self, sql: &str, params: &[Option<&str>]) -> Result<Row, SqlError> {
        let mut rows = self.query(sql, params).await?;
        match (rows.pop(), rows.len()) {
            (Some(row), 0) => Ok(row),
            (_, others) => {
                let count = others + usize::from(others > 0);
                Err(SqlError::new(
                    SqlErrorKind::Server,
                    format!("query returned {count} rows instead of one"),
                ))
            }
        }
    }

    /// Runs a query whose one column of its one row is JSON.
    ///
    /// # Errors
    /// Also if the JSON is not a `T`.
    pub async fn query_json<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: &[Option<&str>],
    ) -> Result<T, SqlError> {
        let row = self.query_one(sql, params).await?;
        serde_json::from_str(row.get(0).unwrap_or("null")).map_err(|error| {
            SqlError::new(SqlErrorKind::Server, format!("unexpected answer from the server: {error}"))
        })
    }

    /// Runs a statement and returns how many rows it touched.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    pub async fn execute(&self, sql: &str, params: &[Option<&str>]) -> Result<u64, SqlError> {
        let params = typed(params);
        self.bounded(async { Ok(self.shared.client.execute_typed(sql, &params).await?) }).await
    }

    /// Runs statements without parameters, in one round trip.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    pub async fn batch(&self, sql: &str) -> Result<(), SqlError> {
        self.bounded(async { Ok(self.shared.client.batch_execute(sql).await?) }).await
    }

    /// Sends statements that cannot fail ahead of the next call, and does not wait for the answer.
    pub(super) async fn send(&self, sql: &str) {
        let mut call = Box::pin(self.shared.client.batch_execute(sql));
        // The driver sends a request when its future is first polled, and drops an answer that is not waited for.
        poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
    }

    /// Runs statements in one transaction, all of them in one round trip.
    ///
    /// They are sent without waiting for each other. After one that fails the server refuses the rest, and makes a
    /// rollback of the commit.
    ///
    /// # Errors
    /// With the error of the first statement that failed. After `TimedOut` and `Closed` the transaction may be committed.
    pub async fn transaction(&self, statements: &[Statement]) -> Result<(), SqlError> {
        let client = &self.shared.client;
        let params: Vec<Vec<Option<&str>>> = statements
            .iter()
            .map(|statement| statement.params.iter().map(Option::as_deref).collect())
            .collect();
        let mut calls: Vec<Call<'_>> = vec![Box::pin(async { client.batch_execute("BEGIN").await })];
        for (statement, params) in statements.iter().zip(&params) {
            calls.push(Box::pin(async move {
                client.execute_typed(&statement.text, &typed(params)).await.map(drop)
            }));
        }
        calls.push(Box::pin(async { client.batch_execute("COMMIT").await }));
        self.bounded(async { Ok(in_order(calls).await?) }).await
    }

    /// Runs a call under the deadline, after telling the server about it if it is another one than before. Both are sent at
    /// once.
    async fn bounded<T>(&self, call: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
        let ms = statement_timeout(self.deadline);
        let started = tokio::time::Instant::now();
        let notice = async {
            if self.shared.timeout_sent_ms.swap(ms, Ordering::Relaxed) != ms {
                // If this fails, so does the call.
                self.shared.client.batch_execute(&format!("SET statement_timeout = {ms}")).await.ok();
            }
        };
        let both = async { tokio::join!(biased; notice, call).1 };
        let late = || {
            let primary = format!("no response within {} s", self.deadline.as_secs_f64());
            SqlError::new(SqlErrorKind::TimedOut, primary)
        };
        match timeout(self.deadline, both).await {
            Ok(Err(error))
                if error.sqlstate.as_deref() == Some("57014")
                    && started.elapsed().as_millis() >= u128::from(ms) =>
            {
                let late = late().detail(crate::error::sentence(&error.message));
                Err(SqlError { sqlstate: error.sqlstate, ..late })
            }
            Ok(result) => result,
            Err(_) => Err(late()),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.server_name())
    }
}

type Call<'a> = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send + 'a>>;

/// Runs calls that are sent in this order, and returns the first error in this order.
async fn in_order(mut calls: Vec<Call<'_>>) -> Result<(), tokio_postgres::Error> {
    let mut results: Vec<Option<Result<(), tokio_postgres::Error>>> = calls.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut all = Poll::Ready(());
        // The driver sends a request when its future is first polled, so this loop is the order on the wire.
        for (call, result) in calls.iter_mut().zip(&mut results) {
            if result.is_none() {
                match call.as_mut().poll(cx) {
                    Poll::Ready(done) => *result = Some(done),
                    Poll::Pending => all = Poll::Pending,
                }
            }
        }
        all
    })
    .await;
    results.into_iter().flatten().collect()
}

fn typed<'a>(params: &'a [Option<&'a str>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    params.iter().map(|param| (param as &(dyn ToSql + Sync), Type::TEXT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_gives_up_before_the_client() {
        assert_eq!(statement_timeout(Duration::from_secs(10)), 9_000);
        assert_eq!(statement_timeout(Duration::ZERO), 1);
        assert_eq!(statement_timeout(Duration::MAX), i32::MAX as u64);
    }
}
