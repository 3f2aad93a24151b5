//! The cluster-wide lock: one role-changing command at a time, on whichever host it was typed.
//!
//! An advisory lock with one fixed key, on every registered node that can be reached, each on a session that is kept to the
//! end of the operation. PostgreSQL allows advisory locks on standbys and keeps them through a promotion, and it releases
//! them by itself when the session ends, however it ends: there is no stale lock to clean up.
//!
//! Two commands that begin at the same time ask the nodes in the same order, so that one of them gets further than the
//! other; and they ask without waiting, so that neither can wait for the other. A node that cannot be reached cannot be
//! asked. That is why the lock is a courtesy among commands, not what safety rests on.

use std::fmt;

use crate::error::{Error, Exit, Result};

/// The key of the advisory lock: the letters `pgbaton` and a zero. Never changed, for versions must see each other.
pub const KEY: i64 = i64::from_be_bytes(*b"pgbaton\0");

/// The class of the advisory locks by which daemons vote, one for each cluster: the letters `pgbL`. Never changed either.
pub const VOTE: i32 = i32::from_be_bytes(*b"pgbL");

/// Takes the lock, without waiting; `$1` is [`KEY`]. Locks are per database, so every session uses the node's own one.
pub const TRY_LOCK: &str = "SELECT pg_catalog.pg_try_advisory_lock($1::pg_catalog.int8)::pg_catalog.text";

/// Gives the lock back; `$1` is [`KEY`].
pub const UNLOCK: &str = "SELECT pg_catalog.pg_advisory_unlock($1::pg_catalog.int8)::pg_catalog.text";

/// Returns the holder of the lock; `$1` is [`KEY`]. Columns: application name, client address, pid, and since when its session is.
///
/// An advisory key of 64 bits is shown in two halves, with `objsubid` 1.
pub const HOLDER: &str = "\
SELECT a.application_name, a.client_addr::pg_catalog.text, l.pid::pg_catalog.text, a.backend_start::pg_catalog.text
  FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
   AND (l.classid::pg_catalog.int8 << 32 | l.objid::pg_catalog.int8) = $1::pg_catalog.int8";

/// A node that can be locked.
pub trait Lockable {
    /// A session that holds the lock.
    type Session;

    /// Returns the node's number, which decides the order.
    fn node_id(&self) -> i32;

    /// Returns the node's name.
    fn name(&self) -> &str;

    /// Tries to take the lock. A node that does not answer in time is [`LockAttempt::Unreachable`].
    fn try_lock(&self) -> impl Future<Output = LockAttempt<Self::Session>>;

    /// Gives a lock back. Closing the session is enough, but the server may take a moment to notice it.
    fn release(&self, session: Self::Session) -> impl Future<Output = ()>;
}

/// How an attempt ended.
#[derive(Debug)]
pub enum LockAttempt<S> {
    /// The lock is held by this session.
    Taken(S),
    /// Another session has it.
    Held(LockHolder),
    /// The node could not be queried.
    Unreachable(anyhow::Error),
}

/// The holder of the lock on a node, as far as the node reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockHolder {
    /// The application name of the session: the node that runs the command.
    pub application_name: Option<String>,
    /// Where the session comes from; None for a Unix socket.
    pub client_addr: Option<String>,
    /// The backend process that serves it.
    pub pid: Option<String>,
    /// When the session began.
    pub since: Option<String>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.application_name {
            Some(name) if !name.is_empty() => write!(f, "session \"{name}\"")?,
            _ => f.write_str("a session")?,
        }
        let facts =
            [("from ", &self.client_addr), ("with backend process ", &self.pid), ("since ", &self.since)];
        for (word, fact) in facts {
            if let Some(fact) = fact {
                write!(f, " {word}{fact}")?;
            }
        }
        Ok(())
    }
}

/// The locks of a whole cluster. They end when the sessions do.
#[derive(Debug)]
pub struct ClusterLock<S> {
    /// The sessions that hold it, by node.
    pub sessions: Vec<(i32, S)>,
    /// The nodes that could not be queried, and why.
    pub unreachable: Vec<(i32, anyhow::Error)>,
}

/// Takes the lock on all nodes that can be reached, in order of their numbers, one after the other.
///
/// # Errors
/// If another session has it on one node, gives back what was taken, last first, and fails with exit code 30, naming the
/// holder. Nothing else is an error here: what an unreachable node means is for the caller to decide.
pub async fn acquire<N: Lockable>(nodes: &[N]) -> Result<ClusterLock<N::Session>> {
    let mut ordered: Vec<&N> = nodes.iter().collect();
    ordered.sort_by_key(|node| node.node_id());
    let mut taken: Vec<(&N, N::Session)> = Vec::new();
    let mut unreachable = Vec::new();
    for node in ordered {
        match node.try_lock().await {
            LockAttempt::Taken(session) => taken.push((node, session)),
            LockAttempt::Unreachable(cause) => unreachable.push((node.node_id(), cause)),
            LockAttempt::Held(holder) => {
                while let Some((node, session)) = taken.pop() {
                    node.release(session).await;
                }
                return Err(Error::new(Exit::Busy, "another operation is running in this cluster").detail(
                    format!(
                        "On node \"{}\" (ID: {}) the lock is held by {holder}.",
                        node.name(),
                        node.node_id()
                    ),
                ));
            }
        }
    }
    let sessions = taken.into_iter().map(|(node, session)| (node.node_id(), session)).collect();
    Ok(ClusterLock { sessions, unreachable })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[derive(Clone, Copy)]
    enum State {
        Free,
        Held,
        Down,
    }

    struct Node<'a> {
        id: i32,
        name: String,
        state: State,
        log: &'a RefCell<Vec<String>>,
    }

    impl Lockable for Node<'_> {
        type Session = i32;

        fn node_id(&self) -> i32 {
            self.id
        }

        fn name(&self) -> &str {
            &self.name
        }

        async fn try_lock(&self) -> LockAttempt<i32> {
            self.log.borrow_mut().push(format!("try {}", self.id));
            match self.state {
                State::Free => LockAttempt::Taken(self.id),
                State::Down => LockAttempt::Unreachable(anyhow::anyhow!("connection refused")),
                State::Held => LockAttempt::Held(LockHolder {
                    application_name: Some("node3".to_string()),
                    client_addr: Some("10.0.0.3".to_string()),
                    ..LockHolder::default()
                }),
            }
        }

        async fn release(&self, session: i32) {
            self.log.borrow_mut().push(format!("release {session}"));
        }
    }

    async fn acquire_from(states: &[(i32, State)]) -> (Result<ClusterLock<i32>>, Vec<String>) {
        let log = RefCell::new(Vec::new());
        let nodes: Vec<Node<'_>> = states
            .iter()
            .map(|(id, state)| Node { id: *id, name: format!("node{id}"), state: *state, log: &log })
            .collect();
        let result = acquire(&nodes).await;
        drop(nodes);
        (result, log.into_inner())
    }

    #[tokio::test]
    async fn nodes_are_locked_in_the_order_of_their_numbers() {
        let (lock, log) = acquire_from(&[(3, State::Free), (1, State::Free), (2, State::Free)]).await;
        assert_eq!(log, ["try 1", "try 2", "try 3"]);
        assert_eq!(lock.unwrap().sessions, [(1, 1), (2, 2), (3, 3)]);
    }

    #[tokio::test]
    async fn a_lock_that_is_taken_releases_all_others_and_exits_30_naming_the_holder() {
        let states = [(1, State::Free), (2, State::Free), (3, State::Held), (4, State::Free)];
        let (lock, log) = acquire_from(&states).await;
        assert_eq!(log, ["try 1", "try 2", "try 3", "release 2", "release 1"]);
        let error = lock.unwrap_err();
        assert_eq!((error.exit, error.changed), (Exit::Busy, false));
        let expected = "On node \"node3\" (ID: 3) the lock is held by session \"node3\" from 10.0.0.3.";
        assert_eq!(error.detail.as_deref(), Some(expected));
    }

    #[tokio::test]
    async fn a_node_that_cannot_be_asked_is_passed_over_and_named() {
        let (lock, _) = acquire_from(&[(1, State::Down), (2, State::Free)]).await;
        let lock = lock.unwrap();
        assert_eq!(lock.sessions, [(2, 2)]);
        assert_eq!(lock.unreachable[0].0, 1);
    }

    #[test]
    fn the_key_never_changes() {
        assert_eq!(KEY, 8_099_550_625_553_935_872);
    }
}
