//! A client that keeps a record of every write that was acknowledged, and an observer that counts the servers that accept writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use super::TestServer;

/// How long a client waits for an answer before it looks for another server.
const PATIENCE: Duration = Duration::from_millis(500);

/// A client that writes one row after the other, wherever it is let, until it is stopped.
pub struct Ledger {
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<Record>>,
}

/// What a client has seen.
#[derive(Debug)]
pub struct Record {
    /// The numbers that were acknowledged.
    pub acknowledged: Vec<i64>,
    /// When each of them was.
    pub times: Vec<Instant>,
    /// The longest time between two acknowledgements.
    pub longest_gap: Duration,
}

impl Ledger {
    /// Makes the table on the primary and begins to write, over all these servers.
    pub fn begin(primary: &TestServer, servers: &[TestServer]) -> Self {
        primary.psql("CREATE TABLE IF NOT EXISTS ledger (n bigint PRIMARY KEY)");
        let servers: Vec<String> = servers.iter().map(TestServer::client_conninfo).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let writer = std::thread::spawn(move || runtime().block_on(write(servers, flag)));
        Self { stop, writer: Some(writer) }
    }

    /// Ends the writing.
    pub fn end(mut self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.take().unwrap().join().unwrap()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Record {
    /// The longest time between two acknowledgements of which the later one was in this time.
    pub fn longest_gap_within(&self, from: Instant, until: Instant) -> Duration {
        let pairs = self.times.iter().zip(self.times.iter().skip(1));
        let within = pairs.filter(|(_, later)| (from..=until).contains(*later));
        within.map(|(earlier, later)| *later - *earlier).max().unwrap_or_default()
    }

    /// Fails unless every acknowledged row is on a server.
    #[track_caller]
    pub fn assert_kept_by(&self, server: &TestServer) {
        let there = server.psql("SELECT n FROM ledger ORDER BY n");
        let there: std::collections::BTreeSet<i64> =
            there.lines().map(|line| line.parse().unwrap()).collect();
        let lost: Vec<i64> = self.acknowledged.iter().copied().filter(|n| !there.contains(n)).collect();
        assert!(lost.is_empty(), "{} acknowledged rows are not on {}: {lost:?}", lost.len(), server.name);
        assert!(!self.acknowledged.is_empty(), "nothing was written");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn connect(conninfo: &str) -> Option<Client> {
    let (client, connection) =
        tokio::time::timeout(PATIENCE, tokio_postgres::connect(conninfo, NoTls)).await.ok()?.ok()?;
    tokio::spawn(connection);
    Some(client)
}

async fn write(servers: Vec<String>, stop: Arc<AtomicBool>) -> Record {
    let mut record = Record { acknowledged: Vec::new(), times: Vec::new(), longest_gap: Duration::ZERO };
    let mut last = Instant::now();
    let mut client: Option<Client> = None;
    let mut next = 1_i64;
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &client else {
            client = connect(&servers[at % servers.len()]).await;
            at += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        };
        // A number is used once: whether a write without an answer took place is unknown.
        let n = next;
        next += 1;
        let written =
            tokio::time::timeout(PATIENCE, open.execute("INSERT INTO ledger VALUES ($1)", &[&n])).await;
        if let Ok(Ok(_)) = written {
            record.longest_gap = record.longest_gap.max(last.elapsed());
            last = Instant::now();
            record.acknowledged.push(n);
            record.times.push(last);
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            client = None;
        }
    }
    record
}

/// An observer that asks all servers again and again whether they accept writes, until it is stopped.
pub struct Observer {
    stop: Arc<AtomicBool>,
    watcher: Option<JoinHandle<Option<String>>>,
}

impl Observer {
    /// Begins to watch.
    pub fn begin(servers: &[TestServer]) -> Self {
        let servers: Vec<(String, String)> =
            servers.iter().map(|server| (server.name.clone(), server.client_conninfo())).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let watcher = std::thread::spawn(move || runtime().block_on(watch(servers, flag)));
        Self { stop, watcher: Some(watcher) }
    }

    /// Ends the watch, and fails if two servers accepted writes at the same time.
    #[track_caller]
    pub fn assert_never_two(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.watcher.take().unwrap().join().unwrap();
        assert!(seen.is_none(), "two servers accepted writes at the same time: {}", seen.unwrap());
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn watch(servers: Vec<(String, String)>, stop: Arc<AtomicBool>) -> Option<String> {
    let mut clients: Vec<Option<Client>> = servers.iter().map(|_| None).collect();
    while !stop.load(Ordering::Relaxed) {
        let mut writable = Vec::new();
        for (i, (_, conninfo)) in servers.iter().enumerate() {
            if accepts_writes(&mut clients[i], conninfo).await {
                writable.push(i);
            }
        }
        // They were asked one after the other. Only if the first still accepts writes now, both did when the last was asked.
        if let [first, .., last] = writable[..]
            && accepts_writes(&mut clients[first], &servers[first].1).await
        {
            return Some(format!("{} and {}", servers[first].0, servers[last].0));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

async fn accepts_writes(client: &mut Option<Client>, conninfo: &str) -> bool {
    if client.as_ref().is_none_or(Client::is_closed) {
        *client = connect(conninfo).await;
    }
    let Some(open) = client else { return false };
    let asked = tokio::time::timeout(PATIENCE, open.query_one("SELECT NOT pg_is_in_recovery()", &[])).await;
    match asked {
        Ok(Ok(row)) => row.get(0),
        _ => {
            *client = None;
            false
        }
    }
}
