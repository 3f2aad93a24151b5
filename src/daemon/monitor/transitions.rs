//! Which changes of the lease, and of the server, are events.

use pgbaton_lease::{Flag, HandOver, Server, Stage};

use super::Monitor;
use crate::daemon::snapshot::Snapshot;
use crate::pg::control_file::{self, ControlState};

/// What counts of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    leads: bool,
    is_paused: bool,
    has_lapsed: bool,
    /// The votes were released for this node.
    handed_to: Option<u32>,
    server: Server,
    /// The WAL receiver is connected.
    streams: bool,
    /// It stands for election.
    stands: bool,
    /// The node that leads, as far as is seen.
    leader: Option<u32>,
}

impl Facts {
    fn of(snapshot: &Snapshot) -> Self {
        let state = &snapshot.state;
        let handed_to = match state.hand_over {
            Some(HandOver { to, stage: Stage::Committed { .. }, .. }) => snapshot.id(to),
            _ => None,
        };
        Self {
            leads: snapshot.leads(),
            is_paused: state.flag == Flag::Full,
            has_lapsed: state.lapsed,
            handed_to,
            server: state.server,
            streams: snapshot.silent.is_some(),
            stands: state.candidacy.is_some(),
            leader: snapshot.leader,
        }
    }
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// This node leads.
    Acquired,
    /// It does not lead any more.
    Lost(Cause),
    /// A former primary streams as a standby.
    Rejoined,
    /// It stood for election, and follows the same primary as before.
    Aborted,
}

/// Why a lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Paused,
    Handed(u32),
    /// It has ended, and the server is fenced.
    Lapsed,
    /// The server has ceased to be a primary.
    Standby,
}

/// Compares what is known with what was known before.
#[derive(Debug, Default)]
struct Transitions {
    before: Option<Facts>,
    /// The leader that was seen last.
    leader: Option<u32>,
    /// It has stood for election under this leader, and what came of that is not known.
    stood: Option<Option<u32>>,
    /// The server was a primary, and has not streamed since.
    returns: bool,
}

impl Transitions {
    fn next(&mut self, now: Facts) -> Vec<Change> {
        let mut changes = Vec::new();
        // A daemon that is started again goes on with its lease.
        let led = self.before.map_or(now.leads, |before| before.leads);
        if now.leads && !led {
            changes.push(Change::Acquired);
        }
        if led && !now.leads {
            changes.push(Change::Lost(match now {
                Facts { is_paused: true, .. } => Cause::Paused,
                Facts { handed_to: Some(to), .. } => Cause::Handed(to),
                Facts { has_lapsed: true, .. } => Cause::Lapsed,
                _ => Cause::Standby,
            }));
        }
        match now.server {
            Server::Primary | Server::Promoting | Server::Down { signal: false } => self.returns = true,
            Server::Standby if self.returns && now.streams => {
                self.returns = false;
                changes.push(Change::Rejoined);
            }
            Server::Standby | Server::Down { signal: true } => {}
        }
        changes.extend(self.aborted(now));
        self.before = Some(now);
        changes
    }
}

impl Transitions {
    /// A candidacy may end and begin again many times before there is a primary: only what comes of it counts.
    fn aborted(&mut self, now: Facts) -> Option<Change> {
        if now.stands {
            self.stood.get_or_insert(self.leader);
            return None;
        }
        let under = self.stood;
        if now.leader.is_some() {
            self.leader = now.leader;
        }
        let is_same = under.is_some_and(|under| under.is_some() && under == now.leader);
        let follows = is_same && now.server == Server::Standby && now.streams;
        if follows || now.server != Server::Standby || (now.leader.is_some() && !is_same) {
            self.stood = None;
        }
        follows.then_some(Change::Aborted)
    }
}

impl Monitor<'_> {
    /// Announces the changes of the lease.
    pub(super) async fn follow_lease(&self) {
        let data = self.config().data_directory.clone();
        // What is down, and not as a standby, was a primary.
        let returns = control_file::read(&data).is_ok_and(|control| {
            matches!(
                control.state,
                ControlState::ShutDown | ControlState::ShuttingDown | ControlState::InProduction
            )
        });
        let mut transitions = Transitions { returns: returns && !self.is_witness, ..Transitions::default() };
        let mut snapshot = self.snapshot.clone();
        loop {
            let facts = snapshot.borrow_and_update().as_ref().map(Facts::of);
            for change in facts.map(|facts| transitions.next(facts)).unwrap_or_default() {
                self.announce_change(change);
            }
            if snapshot.changed().await.is_err() {
                return;
            }
        }
    }

    fn announce_change(&self, change: Change) {
        let name = self.config().node_name.clone();
        let lost = |details: String, successful: bool| self.announce("lease_lost", successful, details);
        match change {
            Change::Acquired => self.announce("lease_acquired", true, format!("node \"{name}\" leads")),
            Change::Aborted => {
                let details = "the primary responds again; the failover was aborted".to_string();
                self.announce("repmgrd_failover_abort", true, details);
            }
            Change::Lost(Cause::Paused) => lost("automatic failover is paused".to_string(), true),
            Change::Lost(Cause::Handed(to)) => lost(format!("handed over to node {to}"), true),
            Change::Lost(Cause::Lapsed) => lost("the lease has ended".to_string(), false),
            Change::Lost(Cause::Standby) => lost("the server is no longer a primary".to_string(), true),
            Change::Rejoined => {
                let upstream = self.upstream_row();
                let from = upstream.as_ref().map(|row| format!(" node {}", super::named(row)));
                let details = format!("node \"{name}\" streams from{} again", from.unwrap_or_default());
                let happened = super::Happened::new("node_rejoined", true, details);
                self.announcer.announce(happened.about(upstream.as_ref().map(Into::into)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDBY: Facts = Facts {
        leads: false,
        is_paused: false,
        has_lapsed: false,
        handed_to: None,
        server: Server::Standby,
        streams: true,
        stands: false,
        leader: Some(1),
    };
    const LEADS: Facts = Facts { leads: true, server: Server::Primary, streams: false, ..STANDBY };

    fn changes(all: &[Facts]) -> Vec<Change> {
        let mut transitions = Transitions::default();
        all.iter().flat_map(|facts| transitions.next(*facts)).collect()
    }

    #[test]
    fn a_lease_is_acquired_and_lost_once() {
        assert_eq!(changes(&[STANDBY, LEADS, LEADS]), [Change::Acquired]);
        let over = |last: Facts| changes(&[LEADS, LEADS, last, last]);
        assert_eq!(over(Facts { leads: false, has_lapsed: true, ..LEADS }), [Change::Lost(Cause::Lapsed)]);
        assert_eq!(over(Facts { leads: false, is_paused: true, ..LEADS }), [Change::Lost(Cause::Paused)]);
        let down = Server::Down { signal: true };
        let handed = Facts { leads: false, handed_to: Some(2), server: down, ..LEADS };
        assert_eq!(over(handed), [Change::Lost(Cause::Handed(2))]);
    }

    #[test]
    fn a_daemon_that_starts_beside_its_lease_acquires_nothing() {
        assert_eq!(changes(&[LEADS, LEADS]), []);
    }

    #[test]
    fn a_failover_is_aborted_when_the_same_primary_is_back() {
        let lost = Facts { streams: false, leader: None, ..STANDBY };
        let stands = Facts { stands: true, ..lost };
        let all = [STANDBY, lost, stands, lost, stands, lost, STANDBY, STANDBY];
        assert_eq!(changes(&all), [Change::Aborted]);
        // Another one leads, or this node does.
        let other = Facts { leader: Some(2), ..STANDBY };
        assert_eq!(changes(&[STANDBY, stands, lost, other, STANDBY]), []);
        assert_eq!(changes(&[STANDBY, stands, LEADS]), [Change::Acquired]);
    }

    #[test]
    fn a_former_primary_has_rejoined_when_it_streams() {
        let down = Facts { leads: false, server: Server::Down { signal: true }, streams: false, ..LEADS };
        let starts = Facts { streams: false, ..STANDBY };
        let lost = Change::Lost(Cause::Standby);
        assert_eq!(changes(&[LEADS, down, starts, starts]), [lost]);
        assert_eq!(changes(&[LEADS, down, starts, STANDBY, starts, STANDBY]), [lost, Change::Rejoined]);
        // A standby that was only restarted was never away.
        assert_eq!(changes(&[STANDBY, down, starts, STANDBY]), []);
    }
}
