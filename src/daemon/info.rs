//! The session in which this daemon reports itself: see [`DaemonInfo`]. It is to its own server, and none of the lease: a thread of its own keeps
//! it, so that neither the lease nor what the executor waits for is delayed by it, or delays it.

use std::time::Duration;

use pgbaton_lease::mailbox::{Incarnation, NodeId};
use tokio::sync::watch;
use tokio::time::sleep;

use super::fencer::{Held, Wanted};
use super::lease::now;
use super::snapshot::Snapshot;
use crate::facts::daemon_info::{Course, DaemonInfo, Fencer, own_version};
use crate::pg::client::Session;
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::Conninfo;
use crate::system::environment::Environment;

/// How often the line is renewed, and a server that does not answer is tried again.
const RENEW: Duration = Duration::from_secs(1);

/// How long the server may take to open the session, and to answer in it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How old what the lease's thread knows may be, in milliseconds: it renews that with each heartbeat. What is older is not shown as if it held.
const FRESH: u64 = 10_000;

/// What the line is made of.
#[derive(Debug)]
pub struct Setting {
    /// The node.
    pub node: NodeId,
    /// Which start of the daemon.
    pub incarnation: Incarnation,
    /// How the own server is reached.
    pub conninfo: Conninfo,
    /// How connections are made.
    pub environment: Environment,
    /// What the lease's thread knows.
    pub snapshot: watch::Receiver<Option<Snapshot>>,
}

/// Shows the line until the lease's thread has ended.
pub async fn show(setting: Setting) {
    let options = ConnectOptions {
        deadline: PATIENCE,
        query_deadline: PATIENCE,
        application_name: Some("pgbaton daemon".to_string()),
        ..ConnectOptions::default()
    };
    // A deadline that is wanted is armed a moment later.
    let mut was_unarmed = false;
    while setting.snapshot.has_changed().is_ok() {
        if let Ok(session) = connect(&setting.conninfo, &setting.environment, &options).await {
            while setting.snapshot.has_changed().is_ok()
                && setting.renew(&session, &mut was_unarmed).await.is_some()
            {
                sleep(RENEW).await;
            }
        }
        sleep(RENEW).await;
    }
}

impl Setting {
    /// Shows what holds now; None if the session is of no use any more.
    async fn renew(&self, session: &Session, was_unarmed: &mut bool) -> Option<()> {
        let snapshot = self.snapshot.borrow().clone();
        let Some(snapshot) = snapshot.filter(|snapshot| now().since(snapshot.at) <= FRESH) else {
            // The line grows old, and is not believed any more.
            return (!session.is_closed()).then_some(());
        };
        let mut info = self.info(&snapshot);
        if let Fencer::NotArmed(lacks) = info.fencer
            && !std::mem::replace(was_unarmed, true)
        {
            info.fencer = Fencer::Fine(lacks);
        } else if !matches!(info.fencer, Fencer::NotArmed(_)) {
            *was_unarmed = false;
        }
        let line = info.line()?;
        let shown = session.query("SELECT set_config('application_name', $1, false)", &[Some(&line)]).await;
        shown.ok().map(drop)
    }

    fn info(&self, snapshot: &Snapshot) -> DaemonInfo {
        let (state, time) = (&snapshot.state, now());
        DaemonInfo {
            node: self.node,
            incarnation: self.incarnation,
            pid: std::process::id(),
            version: own_version(),
            lease_left: state.fence_at().filter(|_| !state.lapsed).map(|deadline| deadline.since(time)),
            silent: snapshot.silent.map(|silent| silent.saturating_add(time.since(snapshot.at))),
            is_willing: state.is_willing(),
            course: match () {
                () if state.lapsed => Course::Fenced,
                () if state.hand_over.is_some() => Course::HandsOver,
                () => Course::Usual,
            },
            fencer: fencer(snapshot.wanted, snapshot.held, time.0),
        }
    }
}

/// Compares what is wanted of the fencer with what holds there.
fn fencer(wanted: Wanted, held: Option<Held>, now: u64) -> Fencer {
    let Some(held) = held else { return Fencer::Fine(pgbaton_fencer::protocol::Shortcomings::default()) };
    let Some(answer) = held.answer else { return Fencer::Silent };
    let is_wanted = matches!(wanted, Wanted::At(deadline) if deadline > now);
    match is_wanted && !held.is_armed(now) {
        true => Fencer::NotArmed(answer.lacks),
        false => Fencer::Fine(answer.lacks),
    }
}

#[cfg(test)]
mod tests {
    use pgbaton_fencer::protocol::{Answer, Shortcomings};

    use super::*;

    #[test]
    fn a_fencer_is_armed_where_that_is_wanted() {
        let answer = Answer {
            is_done: true,
            has_ended: false,
            deadline: None,
            lacks: Shortcomings::MEMORY,
            pid: 1,
            directory: 0,
        };
        let held = |answer: Answer| Some(Held { answer: Some(answer) });
        let lacks = Shortcomings::MEMORY;
        let nothing = Wanted::Nothing { is_standby: true };
        let armed = Answer { deadline: Some(900), ..answer };
        assert_eq!(fencer(nothing, held(answer), 500), Fencer::Fine(lacks));
        assert_eq!(fencer(Wanted::At(1000), held(answer), 500), Fencer::NotArmed(lacks));
        // The deadline before the one that is wanted now still holds.
        assert_eq!(fencer(Wanted::At(1000), held(armed), 500), Fencer::Fine(lacks));
        assert_eq!(fencer(Wanted::At(1000), held(armed), 950), Fencer::NotArmed(lacks));
        let ended = Answer { has_ended: true, ..armed };
        assert_eq!(fencer(Wanted::At(1000), held(ended), 500), Fencer::NotArmed(lacks));
        assert_eq!(fencer(Wanted::Now, held(ended), 500), Fencer::Fine(lacks));
        assert_eq!(fencer(Wanted::At(1000), Some(Held::default()), 500), Fencer::Silent);
        // A witness has nothing to fence.
        assert_eq!(fencer(nothing, None, 500), Fencer::Fine(Shortcomings::default()));
    }
}
